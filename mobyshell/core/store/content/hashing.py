"""A digest that keeps up with a writer: of much, it is computed by a thread of its own."""

from __future__ import annotations

import threading
from queue import SimpleQueue

from mobyshell.core.oci.digest import Digest, new_hasher
from mobyshell.core.store.content.blobs import hash_into

_MUCH = 4 << 20
"""Bytes after which a thread is worth it: most blobs of documents and configurations are smaller."""
_AHEAD = 16
"""Pieces that a writer may be ahead of the thread."""


class Hashing:
    """The digest of what it is given. Not for several threads at once; `close` it, or a thread stays."""

    def __init__(self, algorithm: str) -> None:
        """UsageError for an algorithm that there is none of."""
        self._hasher = new_hasher(algorithm)
        self._left = _MUCH
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def add_file(self, fd: int) -> None:
        """Add all that an open file holds; before anything else."""
        hash_into(self._hasher, fd)

    def update(self, data: bytes) -> None:
        """Add bytes, now or as soon as the thread gets to them."""
        if self._thread is None and self._left > 0:
            self._left -= len(data)
            self._hasher.update(data)
            return
        if self._thread is None:
            for _ in range(_AHEAD):
                self._room.put(None)
            self._thread = threading.Thread(target=self._run, name="hash", daemon=True)
            self._thread.start()
        self._room.get()
        self._pieces.put(data)

    def digest(self) -> Digest:
        """Of all that was added."""
        self.close()
        return Digest.from_hasher(self._hasher)

    def close(self) -> None:
        """End the thread, which has caught up then. What is added later is added as well."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._pieces.put(None)
            thread.join()
            self._room = SimpleQueue()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hasher.update(piece)
            self._room.put(None)
