"""Compressed streams: which kind they are, unpacking them within limits, making them.

gzip by ISA-L (twice as fast as zlib, and the same format; zlib where it cannot be had), zstd by the
standard library's `compression.zstd`, before Python 3.14 by its backport.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

from mobyshell.core.errors import InvalidLayer, Unsupported
from mobyshell.core.store.layers.streams import CHUNK
from mobyshell.core.store.layers.values import Compression, Limits

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_FOREIGN = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x04\x22\x4d\x18": "lz4"}
_WINDOW_LOG = 27
"""128 MiB of memory: what `zstd --long` uses, and the most that decoders take unasked."""
_GZIP_LEVEL, _ZSTD_LEVEL = 3, 3
"""The highest of ISA-L; zstd's default."""
_ZSTD_WORKERS = 2
_FIRST = 16 << 10
"""Bytes given to a new member or frame at once: what it leaves is copied, and there may be many."""
_WINDOW_BITS = 15 + 16
"""The largest window, and gzip's format around it (zlib's manual, inflateInit2)."""


def _module(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _zlib() -> Any:
    return _module("isal.isal_zlib", "zlib")


def _zstd() -> Any:
    found = _module("compression.zstd", "backports.zstd")
    if found is None:
        raise Unsupported(
            "this Python cannot read or write zstd", hint="pip install backports.zstd"
        )
    return found


def detect(start: bytes) -> Compression:
    """The compression of what begins with `start`. Unsupported if it is one that layers never have."""
    if start.startswith(_GZIP):
        return Compression.GZIP
    # a frame, or a skippable one before it (RFC 8878, 3.1.2)
    if start.startswith(_ZSTD) or (start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50):
        return Compression.ZSTD
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise Unsupported(f"layers are not compressed by {name}", hint="gzip, zstd, or plain")
    return Compression.NONE


def peeked(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first six bytes, or all if there are fewer, and the whole stream."""
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= 6:
            break

    def whole() -> Iterator[bytes]:
        if first:
            yield first
        yield from chunks

    return first[:6], whole()


def packed(chunks: Iterator[bytes], kind: Compression, level: int | None) -> Iterator[bytes]:
    """`chunks` in the form `kind`; the same always, from the same library. Unsupported."""
    if kind is Compression.NONE:
        yield from chunks
        return
    if kind is Compression.GZIP:
        zlib = _zlib()
        encoder = zlib.compressobj(
            _GZIP_LEVEL if level is None else level, zlib.DEFLATED, _WINDOW_BITS
        )
    else:
        zstd = _zstd()
        options = {
            zstd.CompressionParameter.compression_level: _ZSTD_LEVEL if level is None else level,
            zstd.CompressionParameter.checksum_flag: 1,
            # the bytes do not depend on how many there are, but on whether there are any
            zstd.CompressionParameter.nb_workers: _ZSTD_WORKERS,
        }
        encoder = zstd.ZstdCompressor(options=options)
    for chunk in chunks:
        data = encoder.compress(chunk)
        if data:
            yield data
    yield encoder.flush()


class Unpacked:
    """The bytes that `chunks` hold in a compressed form.

    Members and frames are read one after the other. InvalidLayer for what is damaged, cut off or
    followed by something else, and for what passes `limits`; Unsupported.
    """

    def __init__(self, chunks: Iterator[bytes], kind: Compression, limits: Limits) -> None:
        self._chunks = chunks
        self._kind = kind
        self._limits = limits
        self._taken = 0
        self._given = 0

    def __iter__(self) -> Iterator[bytes]:
        if self._kind is Compression.NONE:
            for chunk in self._chunks:
                self._taken += len(chunk)
                self._count(chunk)
                yield chunk
            return
        member: Callable[[], _Part] = _GzipMember if self._kind is Compression.GZIP else _ZstdFrame
        decoder: _Part | None = None
        for chunk in self._chunks:
            self._taken += len(chunk)
            view, at, size = memoryview(chunk), 0, _FIRST
            while at < len(chunk):
                if decoder is None:
                    if self._given and chunk[at] == 0:  # padding, as of tapes: gzip(1) takes it
                        at = len(chunk) - len(chunk[at:].lstrip(b"\0"))
                        continue
                    decoder, size = member(), _FIRST
                piece = view[at : at + size]
                yield from self._counted(decoder.feed(piece))
                at, size = at + len(piece), min(4 * size, CHUNK)
                if decoder.eof:
                    at -= decoder.unused
                    decoder = None
        if decoder is not None:
            yield from self._counted(decoder.feed(b""))
        if (decoder is not None and not decoder.eof) or not self._taken:
            raise InvalidLayer(f"the {self._kind} stream is cut off")

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for chunk in chunks:
                self._count(chunk)
                yield chunk
        except _Damaged as error:
            raise InvalidLayer(f"the {self._kind} stream is damaged: {error}") from None

    def _count(self, chunk: bytes) -> None:
        self._given += len(chunk)
        limits = self._limits
        if self._given > limits.unpacked:
            raise InvalidLayer(f"it unpacks to more than {limits.unpacked} bytes")
        if self._given > limits.ratio_from and self._given > limits.ratio * self._taken:
            raise InvalidLayer(f"it unpacks to more than {limits.ratio} times its size")


class _Damaged(Exception):
    """What any of the libraries says of bytes that it cannot read."""


class _Part:
    """One member or frame of a stream, and the library's decoder for it."""

    def __init__(self, decoder: Any, error: type[Exception]) -> None:
        self._decoder, self._error = decoder, error

    @property
    def eof(self) -> bool:
        """Whether its end was in what it was fed."""
        return bool(self._decoder.eof)

    @property
    def unused(self) -> int:
        """How many bytes of what it was fed last came after its end."""
        return len(self._decoder.unused_data)

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """What comes out for `data`; for none, what was kept back."""
        while True:
            try:
                out: bytes = self._decoder.decompress(data, CHUNK)
            except self._error as error:
                raise _Damaged(str(error)) from None
            if out:
                yield out
            rest = self._rest(out)
            if self._decoder.eof or rest is None:
                return
            data = rest

    def _rest(self, out: bytes) -> bytes | None:
        """What to feed next, before more is read; None: nothing comes out without more."""
        raise NotImplementedError


class _GzipMember(_Part):
    def __init__(self) -> None:
        zlib = _zlib()
        super().__init__(zlib.decompressobj(_WINDOW_BITS), zlib.error)

    def _rest(self, out: bytes) -> bytes | None:
        tail: bytes = self._decoder.unconsumed_tail
        return tail if tail or len(out) == CHUNK else None


class _ZstdFrame(_Part):
    def __init__(self) -> None:
        zstd = _zstd()
        limit = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        super().__init__(zstd.ZstdDecompressor(options=limit), zstd.ZstdError)

    def _rest(self, out: bytes) -> bytes | None:
        return None if self._decoder.needs_input else b""
