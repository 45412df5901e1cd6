"""Archives in compressions that no layer has, as people keep them: bzip2 and xz.

What Docker reads of them (`docker load`, ADD), and with what is already in Python's library. Owns
nothing of gzip and zstd, which are `layers/compression`'s.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from typing import TypeAlias

BZIP2, XZ = b"BZh", b"\xfd7zXZ\x00"
MEMORY = 1 << 30
"""Bytes that xz may want to unpack something; its strongest preset takes 65 MiB."""
_PIECE = 1 << 20

_Decoder: TypeAlias = bz2.BZ2Decompressor | lzma.LZMADecompressor


class Damaged(ValueError):
    """The compressed bytes cannot be read, or end too early."""


def plainer(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same without these compressions; what begins otherwise is passed on as it is. Damaged."""
    first = next(pieces, b"")
    if first.startswith(BZIP2):
        return _decoded(first, pieces, bz2.BZ2Decompressor, "bzip2")
    if first.startswith(XZ):
        return _decoded(first, pieces, lambda: lzma.LZMADecompressor(memlimit=MEMORY), "xz")
    return _joined(first, pieces)


def _joined(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces


def _decoded(
    data: bytes, pieces: Iterator[bytes], new: Callable[[], _Decoder], name: str
) -> Iterator[bytes]:
    """All streams of it: programs that work in parallel write many, and tapes have zeros behind."""
    try:
        while True:
            one = new()
            while not one.eof:
                if one.needs_input and not data:
                    data = next(pieces, b"")
                    if not data:
                        raise Damaged(f"the {name} stream is cut off")
                yield one.decompress(data, _PIECE)
                data = b""
            data = one.unused_data.lstrip(b"\0")
            while not data:
                data = next(pieces, b"")
                if not data:
                    return
                data = data.lstrip(b"\0")
    except (lzma.LZMAError, OSError, ValueError) as error:
        if isinstance(error, Damaged) or (isinstance(error, OSError) and error.errno):
            raise  # the disk's, and not bz2's
        raise Damaged(f"the {name} stream is damaged: {error}") from None
