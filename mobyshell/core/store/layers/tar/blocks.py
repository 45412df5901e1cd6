"""A stream of chunks, taken in blocks of 512 bytes and in pieces that are not copied."""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.errors import InvalidLayer

BLOCK = 512


class Blocks:
    """The bytes of an archive in their order. InvalidLayer where it ends too early."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._view = memoryview(b"")
        self._at = 0
        self._end = 0
        self._before = 0

    @property
    def position(self) -> int:
        """How many bytes were taken so far."""
        return self._before + self._at

    def _more(self) -> bool:
        """Go on to the next chunk, the current one being used up; False at the end."""
        for chunk in self._chunks:
            if chunk:
                self._before += self._end
                self._view = memoryview(chunk)
                self._at, self._end = 0, len(chunk)
                return True
        return False

    def block(self) -> bytes:
        """The next 512 bytes; b"" at the end."""
        at = self._at
        if self._end - at >= BLOCK:
            self._at = at + BLOCK
            return bytes(self._view[at : at + BLOCK])
        if at == self._end and not self._more():
            return b""
        return self.exactly(BLOCK)

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes, which the caller has found to be few."""
        parts = []
        while size:
            piece = self.piece(size)
            parts.append(bytes(piece))
            size -= len(piece)
        return b"".join(parts)

    def piece(self, most: int) -> memoryview:
        """Some of the next bytes, at least one and at most `most`."""
        if self._at == self._end and not self._more():
            raise InvalidLayer("the archive is cut off")
        start = self._at
        self._at = min(start + most, self._end)
        return self._view[start : self._at]

    def skip(self, size: int) -> None:
        """Leave out `size` bytes."""
        if size <= self._end - self._at:
            self._at += size
            return
        while size:
            size -= len(self.piece(size))

    def drain(self) -> bool:
        """Read to the end of the stream; whether any byte of that is not zero."""
        rest = bytes(self._view[self._at : self._end])
        something = rest.count(0) != len(rest)
        self._at = self._end
        while self._more():
            chunk = bytes(self._view)
            something = something or chunk.count(0) != len(chunk)
            self._at = self._end
        return something
