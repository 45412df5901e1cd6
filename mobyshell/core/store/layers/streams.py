"""Streams of chunks: reading a source, hashing and copying on the way, one stage per thread.

Every stage is an iterator over the one before. Chunks are about 1 MiB: reading, hashing, inflating
and writing release Python's lock, so that stages in threads really overlap.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from queue import SimpleQueue

from mobyshell.core.errors import InvalidLayer, SyscallFailed
from mobyshell.core.store.layers.values import Region

CHUNK = 1 << 20
_DEPTH = 8
"""Chunks between two threads."""


def read(source: int | Region) -> Iterator[bytes]:
    """What `source` holds: a pipe or socket to its end, or a part of a file.

    InvalidLayer if the part is shorter than it was said to be, SyscallFailed.
    """
    try:
        if isinstance(source, int):
            while chunk := os.read(source, CHUNK):
                yield chunk
            return
        at = source.offset
        left = source.length
        while left is None or left > 0:
            chunk = os.pread(source.fd, CHUNK if left is None else min(CHUNK, left), at)
            if not chunk:
                break
            at += len(chunk)
            left = None if left is None else left - len(chunk)
            yield chunk
    except OSError as error:
        raise SyscallFailed.of(error, "read", path="the layer's blob") from None
    if left:
        raise InvalidLayer(f"the blob ends {left} bytes too early")


class Hashed:
    """The chunks of `chunks`, their digest and size so far."""

    def __init__(self, chunks: Iterator[bytes], algorithm: str) -> None:
        self._chunks = chunks
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        update = self._hash.update
        for chunk in self._chunks:
            update(chunk)
            self.size += len(chunk)
            yield chunk

    @property
    def digest(self) -> str:
        """`algorithm:hex`."""
        return f"{self._hash.name}:{self._hash.hexdigest()}"


def copied(chunks: Iterator[bytes], fd: int, sync: bool) -> Iterator[bytes]:
    """`chunks`, after they were written to `fd`; at the end that is on the disk with `sync`."""
    for chunk in chunks:
        write(fd, chunk)
        yield chunk
    if sync:
        try:
            os.fsync(fd)
        except OSError as error:
            raise SyscallFailed.of(error, "fsync", path="the copy of the layer's blob") from None


def write(fd: int, chunk: bytes) -> None:
    """Write all of `chunk`. SyscallFailed."""
    try:
        done = os.write(fd, chunk)
        if done < len(chunk):
            view = memoryview(chunk)
            while done < len(chunk):
                done += os.write(fd, view[done:])
    except OSError as error:
        raise SyscallFailed.of(error, "write", path="the copy of the layer's blob") from None


class InThread:
    """`chunks`, made by a thread of their own, some ahead. What it raises is raised at its place.

    The thread ends when all is taken, or with the process: of a stream that is given up it may stay
    in a read for ever, so the process is (`process`).
    """

    def __init__(self, chunks: Iterator[bytes], name: str) -> None:
        self._chunks = chunks
        self._error: BaseException | None = None
        # queue.Queue and semaphores are made of Python, these are not
        self._ready: SimpleQueue[bytes | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(_DEPTH):
            self._room.put(None)
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            for chunk in self._chunks:
                self._room.get()
                self._ready.put(chunk)
        except BaseException as error:  # the consumer's to raise
            self._error = error
        self._ready.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (chunk := self._ready.get()) is not None:
            self._room.put(None)
            yield chunk
        if self._error is not None:
            raise self._error
