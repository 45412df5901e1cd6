"""The values of layers: what is asked of the worker, and what it answers. Touches nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from mobyshell.core.store.form import Form as Form
from mobyshell.core.values import value

if TYPE_CHECKING:
    from mobyshell.core.oci.digest import Digest  # the worker starts without the specs


class Compression(StrEnum):
    """The compressions of image-spec's layer.md."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


@value
class Limits:
    """What a layer may ask of this machine; what passes one is an InvalidLayer that names it."""

    unpacked: int = 128 << 30
    """Bytes of the archive when it is no longer compressed."""
    ratio: int = 250
    """Unpacked bytes for a byte of the blob, once more than `ratio_from` are unpacked."""
    ratio_from: int = 1 << 30
    entries: int = 2_000_000
    """Members, and directories that are made because members lie in them."""
    path: int = 4096
    """Bytes of one path, as the archive has it and as it is on the disk (PATH_MAX)."""
    depth: int = 255
    """Directories above a member."""
    extended: int = 1 << 20
    """Bytes of the extended headers (pax, GNU long names) of one member."""
    noted: int = 32 << 20
    """Bytes of all paths that the answer lists (`Applied.implied`, `Applied.whiteouts`)."""


@value
class Region:
    """A part of a regular file: from `offset`, `length` bytes, to its end without one."""

    fd: int
    offset: int = 0
    length: int | None = None


@value
class Progress:
    """How far a job is: bytes of the blob, bytes of the archive, members."""

    blob: int
    unpacked: int
    entries: int


@value
class Applied:
    """A layer that lies unpacked in its directory. Paths are relative to it, "" is itself."""

    digest: Digest
    """Of the blob, as it was read; whether it is the expected one is the caller's to know."""
    size: int
    """Bytes of the blob."""
    diff_id: Digest
    """Digest of the archive (image-spec config.md#layer-diffid)."""
    unpacked: int
    """Bytes of the archive."""
    compression: Compression
    entries: int
    opaque_root: bool = False
    """The layer hides all below it. overlayfs does not take this from a root directory: the
    snapshot must be made without the layers below."""
    implied: tuple[str, ...] = ()
    """Directories that the layer does not list, but lists something in (`settle`)."""
    whiteouts: tuple[str, ...] = ()
    """What it takes away from the layers below, in the overlay forms (`settle`)."""
    left_out: tuple[str, ...] = ()
    """What could not, or must not, be made: one line each, at most `MOST_LEFT_OUT`."""


@value
class Written:
    """A layer that a diff has written."""

    digest: Digest
    size: int
    diff_id: Digest
    unpacked: int
    compression: Compression
    entries: int
    left_out: tuple[str, ...] = ()
    """What a layer cannot hold (sockets, names that would be whiteouts): one line each."""


MOST_LEFT_OUT = 100
"""So many lines are kept of what was left out; one more says how many there were."""
