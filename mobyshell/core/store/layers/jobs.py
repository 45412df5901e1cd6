"""What a worker does for one request: streams put together, and the answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Protocol

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.linux.files import sync_filesystem
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.layers import streams
from mobyshell.core.store.layers.apply import Applier
from mobyshell.core.store.layers.compare import tree_changes
from mobyshell.core.store.layers.compression import Unpacked, detect, packed, peeked
from mobyshell.core.store.layers.contents import Contents
from mobyshell.core.store.layers.settling import settle
from mobyshell.core.store.layers.upper import upper_changes
from mobyshell.core.store.layers.values import (
    Applied,
    Compression,
    Form,
    Limits,
    Progress,
    Region,
)
from mobyshell.core.store.layers.writeback import Writeback
from mobyshell.core.store.stack import Stack
from mobyshell.core.values import as_dict


class Job(Protocol):
    """Something that takes a while."""

    def progress(self) -> Progress:
        """How far it is; asked by another thread."""

    def run(self) -> dict[str, Any]:
        """Do it; the answer. MobyshellError."""


class ApplyJob:
    """A blob that is read once: hashed, copied, unpacked, hashed again, applied.

    Reading, unpacking and applying have a thread each.
    """

    def __init__(self, request: dict[str, Any], fds: list[int]) -> None:
        self._request = request
        self._fds = fds
        self._blob: streams.Hashed | None = None
        self._archive: streams.Hashed | None = None
        self._applier: Applier | None = None

    def progress(self) -> Progress:
        """See Job."""
        blob, archive, applier = self._blob, self._archive, self._applier
        return Progress(
            blob.size if blob else 0,
            archive.size if archive else 0,
            applier.entries if applier else 0,
        )

    def run(self) -> dict[str, Any]:
        """The members of `Applied`."""
        asked, tree = self._request, self._fds[1]
        blob = self._blob = streams.Hashed(streams.read(self._source()), asked["algorithm"])
        chunks: Iterator[bytes] = iter(blob)
        if len(self._fds) > 2:
            chunks = streams.copied(chunks, self._fds[2], asked["sync"])
        start, chunks = peeked(iter(streams.InThread(chunks, "read")))
        kind = _compression(asked["compression"], start)
        limits = Limits(**asked["limits"])
        chunks = iter(Unpacked(chunks, kind, limits))
        if kind is Compression.NONE and asked["diff_algorithm"] == asked["algorithm"]:
            archive = blob
        else:
            archive = streams.Hashed(chunks, asked["diff_algorithm"])
            chunks = iter(streams.InThread(iter(archive), "unpack"))
        self._archive = archive
        form = Form(asked["form"])
        self._applier = Applier(chunks, tree, form, limits, owners=asked["owners"])
        with Writeback(tree) if asked["writeback"] else nullcontext():
            done = self._applier.run()
        if asked["sync"]:
            sync(tree)
        return {
            "digest": blob.digest, "size": blob.size, "compression": kind,
            "diff_id": archive.digest, "unpacked": archive.size, **as_dict(done),
        }  # fmt: skip

    def _source(self) -> int | Region:
        region = self._request["region"]
        return self._fds[0] if region is None else Region(self._fds[0], *region)


class DiffJob:
    """A layer that is written: from an upper directory, or from two trees.

    Reading files, hashing and compressing, and writing have a thread each.
    """

    def __init__(self, request: dict[str, Any], fds: list[int]) -> None:
        self._request = request
        self._output = fds[0]
        if len(fds) > 2:
            changes = tree_changes(fds[1], fds[2])
        else:
            changes = upper_changes(fds[1], Form(request["form"]))
        self._contents = Contents(changes, request["newest"])
        self._archive = streams.Hashed(
            iter(streams.InThread(iter(self._contents), "read")), request["diff_algorithm"]
        )
        kind = Compression(request["compression"])
        self._same = kind is Compression.NONE and (
            request["algorithm"] == request["diff_algorithm"]
        )
        if self._same:
            self._blob = self._archive
        else:
            chunks = packed(iter(self._archive), kind, request["level"])
            self._blob = streams.Hashed(
                iter(streams.InThread(chunks, "pack")), request["algorithm"]
            )

    def progress(self) -> Progress:
        """See Job."""
        return Progress(self._blob.size, self._archive.size, self._contents.entries)

    def run(self) -> dict[str, Any]:
        """The members of `Written`."""
        for _ in streams.copied(iter(self._blob), self._output, self._request["sync"]):
            pass
        return {
            "digest": self._blob.digest, "size": self._blob.size,
            "diff_id": self._archive.digest, "unpacked": self._archive.size,
            "compression": self._request["compression"], "entries": self._contents.entries,
            "left_out": self._contents.left_out(),
        }  # fmt: skip


class SettleJob:
    """A layer put upon those below it, where only their owners may look."""

    def __init__(self, request: dict[str, Any], fds: list[int]) -> None:
        told = request["done"]
        self._done = Applied(**{
            **told, "digest": Digest(told["digest"]), "diff_id": Digest(told["diff_id"]),
            "compression": Compression(told["compression"]),
        })  # fmt: skip
        self._tree, self._below = fds[0], request["below"]

    def progress(self) -> Progress:
        """See Job."""
        return Progress(self._done.size, self._done.unpacked, self._done.entries)

    def run(self) -> dict[str, Any]:
        """Nothing to say."""
        with Stack(self._below) as stack:
            settle(self._tree, stack, self._done)
        return {}


JOBS: dict[str, Callable[[dict[str, Any], list[int]], Job]] = {
    "apply": ApplyJob,
    "diff": DiffJob,
    "settle": SettleJob,
}
"""By their names in a request."""


def _compression(wanted: str | None, start: bytes) -> Compression:
    found = detect(start)
    if wanted is not None and found is not Compression(wanted):
        raise InvalidLayer(f"it should be compressed by {wanted}, and is by {found}")
    return found


def sync(tree: int) -> None:
    """Wait until all of the file system that the directory `tree` is in is on the disk.

    SyscallFailed, also for an earlier write that failed (syncfs(2)).
    """
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
    try:
        sync_filesystem(here, path="the layer's tree")
    finally:
        os.close(here)
