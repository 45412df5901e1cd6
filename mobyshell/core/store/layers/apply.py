"""Unpacking a layer into a directory: one pass over its bytes, everything beneath that directory.

Runs in the worker's process (`process`), whose umask is 0; never in the user's. On any error the tree is
left half made: removing it is the caller's (`core/linux/trees.remove_tree`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from mobyshell.core.errors import InvalidLayer, SyscallFailed
from mobyshell.core.store.layers.attributes import Attributes, inherits
from mobyshell.core.store.layers.finish import Finish
from mobyshell.core.store.layers.members import Members
from mobyshell.core.store.layers.notes import Notes
from mobyshell.core.store.layers.places import Places
from mobyshell.core.store.layers.tar.blocks import Blocks
from mobyshell.core.store.layers.tar.headers import DIRECTORY, Entry
from mobyshell.core.store.layers.tar.reader import read_entries, shown
from mobyshell.core.store.layers.values import Form, Limits
from mobyshell.core.store.layers.whiteouts import (
    OPAQUE,
    PREFIX,
    FlatWhiteouts,
    OverlayWhiteouts,
    Whiteouts,
    hidden,
    is_meta,
)
from mobyshell.core.values import value

_ITS_FAULT = frozenset((
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EXDEV, errno.EINVAL,
    errno.ENOENT, errno.EEXIST, errno.EMLINK, errno.EILSEQ, errno.ENOTEMPTY, errno.E2BIG,
    errno.ERANGE,
))  # fmt: skip
"""What the kernel says of names, places and attributes that only the archive has chosen."""

_ODD = (b"", b".")
"""How names may begin that mean something else: none, the directory itself, a whiteout."""


@value
class Outcome:
    """What `Applier.run` has done."""

    entries: int
    opaque_root: bool
    implied: tuple[str, ...]
    whiteouts: tuple[str, ...]
    left_out: tuple[str, ...]


class Applier:
    """Unpacks one archive, whose bytes are `chunks`, into the open directory `root`."""

    def __init__(
        self,
        chunks: Iterator[bytes],
        root: int,
        form: Form = Form.OVERLAY,
        limits: Limits | None = None,
        *,
        owners: bool = True,
    ) -> None:
        self._blocks = Blocks(chunks)
        self._form = form
        self._limits = limits or Limits()
        self._notes = Notes()
        flat = form is Form.FLAT
        self._places = Places(root, self._limits, flat=flat)
        # directories that a layer makes get their attributes last: nothing is inherited from those
        inherit = self._places.copied or inherits(root)
        self._attributes = Attributes(self._notes, owners=owners, inherit=inherit)
        members = Members(self._places, self._blocks, self._attributes, self._notes)
        self._makers = members.makers()
        self._whiteouts: Whiteouts = FlatWhiteouts(self._places) if flat else OverlayWhiteouts()
        self.entries = 0
        """How many members there were so far; any thread may look."""

    def run(self) -> Outcome:
        """Unpack it all. InvalidLayer names the member and the reason; SyscallFailed is what the
        machine is to blame for (a full disk, a missing privilege)."""
        limits = self._limits
        try:
            for entry in read_entries(self._blocks, limits.extended, limits.unpacked):
                try:
                    self._member(entry)
                except OSError as error:
                    raise _refusal(error, shown(entry.name)) from None
                except InvalidLayer as error:
                    raise InvalidLayer(error.reason, entry=shown(entry.name)) from None
            if self._blocks.drain():
                self._notes.add("something after the end of the archive")
            self._places.forget()
            finish = Finish(self._attributes, self._form, self._limits.noted)
            finish.run(self._places.root.fd, self._places.root.node)
        except OSError as error:
            raise _refusal(error, "") from None
        finally:
            self._places.forget()
        return Outcome(
            self.entries,
            self._form is not Form.FLAT and self._places.root.node.opaque,
            tuple(map(shown, sorted(finish.implied))),
            tuple(map(shown, sorted(finish.whiteouts))),
            self._notes.lines(),
        )

    def _member(self, entry: Entry) -> None:
        self.entries += 1
        if self.entries > self._limits.entries:
            raise InvalidLayer(f"more than {self._limits.entries} entries")
        directory, _, name = entry.name.rpartition(b"/")
        place = self._places.known(directory)
        if place is None or not _is_plain(entry.name, name, self._limits):
            path = _cleaned(entry.name, self._limits)
            if not path:
                self._root(entry)
                return
            if PREFIX in path and self._whiteout(path):
                return
            directory, _, name = path.rpartition(b"/")
            place = self._places.open(directory)
            assert place is not None
        make = self._makers.get(entry.type)
        if make is None:
            raise InvalidLayer(f"of type {chr(entry.type)!r}, which layers do not have")
        make(place, name, entry)
        if entry.type != DIRECTORY:
            self._whiteouts.added(place, name)

    def _root(self, entry: Entry) -> None:
        if entry.type != DIRECTORY:
            raise InvalidLayer("the root of a layer can only be a directory")
        self._places.root.node.entry = entry

    def _whiteout(self, path: bytes) -> bool:
        """Whether `path` is one, and has been made."""
        if is_meta(path):
            return True
        directory, _, name = path.rpartition(b"/")
        if not name.startswith(PREFIX):
            return False
        target = b"" if name == OPAQUE else hidden(name)
        place = self._places.open(directory, make=self._whiteouts.makes_parents)
        if place is None:
            return True  # what is not there need not be deleted
        if target:
            self._whiteouts.hide(place, target)
        else:
            self._whiteouts.hide_all(place)
        return True


def _is_plain(path: bytes, name: bytes, limits: Limits) -> bool:
    """Whether the last part of a path, in a directory that is known by the rest of it, is as `_cleaned`
    would have it, and no whiteout. (Most are: a file after others of its directory.)"""
    return (
        name[:1] not in _ODD
        and b"\0" not in name
        and len(path) <= limits.path
        and path.count(b"/") <= limits.depth
    )


def _cleaned(name: bytes, limits: Limits) -> bytes:
    """A path from the root, as the archive means it; "" for the root itself."""
    if name[:2] == b"./":
        name = name[2:]
    name = name.rstrip(b"/")
    odd = b"//" in name or b"/." in name or name[:1] in (b"/", b".")
    if odd:
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise InvalidLayer("its path leads out of the layer")
        name = b"/".join(parts)
    if len(name) > limits.path:
        raise InvalidLayer(f"a path of more than {limits.path} bytes")
    if name.count(b"/") > limits.depth:
        raise InvalidLayer(f"more than {limits.depth} directories deep")
    if b"\0" in name:
        raise InvalidLayer("a NUL in its path")
    return name


def _refusal(error: OSError, name: str) -> InvalidLayer | SyscallFailed:
    if error.errno in _ITS_FAULT:
        return InvalidLayer(os.strerror(error.errno or 0).lower(), entry=name)
    hint = "free space, or a larger disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return SyscallFailed.of(error, "unpacking", path=name, hint=hint)
