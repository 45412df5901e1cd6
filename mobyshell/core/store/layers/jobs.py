"""What a worker does for one request: streams put together, and the answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Protocol

from mobyshell.core.errors import InvalidLayer, SyscallFailed
from mobyshell.core.linux.syscalls import libc
from mobyshell.core.store.layers import streams
from mobyshell.core.store.layers.apply import Applier
from mobyshell.core.store.layers.compression import Unpacked, detect, peeked
from mobyshell.core.store.layers.values import Applied, Compression, Form, Limits, Progress, Region


class Job(Protocol):
    """Something that takes a while."""

    def progress(self) -> Progress:
        """How far it is; asked by another thread."""

    def run(self) -> Any:
        """Do it; the answer, a dataclass. MobyshellError."""


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

    def run(self) -> Applied:
        """See Job."""
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
        done = self._applier.run()
        if asked["sync"]:
            sync(tree)
        return Applied(
            blob.digest, blob.size, archive.digest, archive.size, kind, done.entries,
            done.opaque_root, done.implied, done.whiteouts, done.left_out,
        )  # fmt: skip

    def _source(self) -> int | Region:
        region = self._request["region"]
        return self._fds[0] if region is None else Region(self._fds[0], *region)


def _compression(wanted: str | None, start: bytes) -> Compression:
    found = detect(start)
    if wanted is not None and found is not Compression(wanted):
        raise InvalidLayer(f"it should be compressed by {wanted}, and is by {found}")
    return found


def sync(tree: int) -> None:
    """Wait until all of the file system that the directory `tree` is in is on the disk.

    SyscallFailed, also for an earlier write that failed (syncfs(2)).
    """
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=tree)
    try:
        if libc.syncfs(here) != 0:
            import ctypes

            raise SyscallFailed("syncfs", ctypes.get_errno(), path="the layer's tree")
    finally:
        os.close(here)
