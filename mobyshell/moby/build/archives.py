"""ADD of an archive: what it holds comes into the layer, in its place.

Owns which files are archives, as Docker tells them: by their first bytes. Nothing is unpacked here,
but by the worker that unpacks layers (`core/store/layers`), beneath the directory and within limits.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from mobyshell.core.errors import UsageError
from mobyshell.core.store.archives.foreign import BZIP2, XZ, Damaged, plainer
from mobyshell.core.store.layers import Form, LayerWorker, Limits, Region
from mobyshell.moby.build.context import Item, Source

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def is_archive(source: Source, item: Item) -> bool:
    """Whether ADD unpacks it."""
    if not stat.S_ISREG(item.found.st_mode):
        return False
    start = next(source.read(item.place), b"")[:512]
    return start.startswith((_GZIP, _ZSTD, BZIP2, XZ)) or start[257:262] == b"ustar"


def unpack(
    source: Source, item: Item, directory: Path, scratch: Path, enter: Sequence[str]
) -> None:
    """Unpack the archive `item` into `directory`. `scratch`: a file to be made meanwhile; `enter`: see
    `LayerWorker`. UsageError for what cannot be read, InvalidLayer for what leads out of it."""
    try:
        with scratch.open("xb") as file:
            for piece in plainer(source.read(item.place)):
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
    except Damaged as error:
        raise UsageError(f"{item.place:.60} cannot be unpacked: {error}") from None
    finally:
        scratch.unlink(missing_ok=True)
