"""ADD of an archive: what it holds comes into the layer, in its place.

Owns which files are archives, as Docker tells them: by their first bytes. Nothing is unpacked here,
but by the worker that unpacks layers (`core/store/layers`), beneath the directory and within limits.
"""

from __future__ import annotations

import bz2
import lzma
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from mobyshell.core.errors import UsageError
from mobyshell.core.store.layers import Form, LayerWorker, Limits, Region
from mobyshell.moby.build.context import Item, Source

_GZIP, _ZSTD, _BZIP2, _XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00"


def is_archive(source: Source, item: Item) -> bool:
    """Whether ADD unpacks it."""
    if not stat.S_ISREG(item.found.st_mode):
        return False
    start = next(source.read(item.place), b"")[:512]
    return start.startswith((_GZIP, _ZSTD, _BZIP2, _XZ)) or start[257:262] == b"ustar"


def unpack(
    source: Source, item: Item, directory: Path, scratch: Path, enter: Sequence[str]
) -> None:
    """Unpack the archive `item` into `directory`. `scratch`: a file to be made meanwhile; `enter`: see
    `LayerWorker`. UsageError for what cannot be read, InvalidLayer for what leads out of it."""
    try:
        with scratch.open("xb") as file:
            for piece in _plainer(source.read(item.place)):
                file.write(piece)
                if file.tell() > Limits().unpacked:
                    raise UsageError(f"{item.place:.60} is too large when it is unpacked")
        archive, tree = os.open(scratch, os.O_RDONLY), os.open(directory, os.O_RDONLY)
        try:
            with LayerWorker(enter=enter) as worker:
                worker.apply(Region(archive), tree, form=Form.FLAT)
        finally:
            os.close(archive)
            os.close(tree)
    except (lzma.LZMAError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's, and not bz2's
        raise UsageError(f"{item.place:.60} cannot be unpacked: {error}") from None
    finally:
        scratch.unlink(missing_ok=True)


def _plainer(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same without the compressions that layers do not have."""
    first = next(pieces, b"")
    one: bz2.BZ2Decompressor | lzma.LZMADecompressor | None = None
    if first.startswith(_BZIP2):
        one = bz2.BZ2Decompressor()
    elif first.startswith(_XZ):
        one = lzma.LZMADecompressor(memlimit=1 << 30)
    if one is None:
        yield first
        yield from pieces
        return
    piece = first
    while not one.eof:
        made = one.decompress(piece, 1 << 20)
        yield made
        piece = b""
        if one.needs_input:
            piece = next(pieces, b"")
            if not piece:
                raise EOFError("it ends too early")
