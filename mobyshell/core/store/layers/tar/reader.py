"""The members of an archive, one after the other, each with its data still in the stream."""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.store.layers.tar import extended, sparse
from mobyshell.core.store.layers.tar.blocks import BLOCK, Blocks
from mobyshell.core.store.layers.tar.headers import (
    DIRECTORY,
    GNU_SPARSE,
    LAST_ID,
    OLD,
    REGULAR,
    Entry,
    parse,
)

_ZEROS = bytes(BLOCK)
_LAST_TIME = (1 << 62) * 1_000_000_000


def read_entries(blocks: Blocks, limit: int, most: int = 0) -> Iterator[Entry]:
    """Each member of the archive in `blocks`; at that moment its data comes next, as `blocks.piece`
    gives it, of which the caller takes what it wants. Extended headers are at most `limit` bytes, all
    files with holes (`Entry.sparse`) together at most `most`; none are taken if that is not given.

    Stops after the two blocks of zeros that end an archive, or where the stream ends between two
    members. Only regular files have data, whatever the size of others is said to be (as Go's
    archive/tar and Python's tarfile have it; a reader that thinks otherwise sees other members).

    InvalidLayer for what is damaged.
    """
    more, told = extended.Extended(limit), False
    while block := blocks.block():
        if block == _ZEROS:
            following = blocks.block()
            if following not in (b"", _ZEROS):
                raise InvalidLayer("the archive is damaged: one block of zeros among its members")
            break
        header = parse(block)
        if header.type in extended.KINDS:
            more.take(header, blocks)
            told = True
            continue
        holes = more.sparse if told else {}
        entry = _checked(more.applied(header) if told else header)
        told = more.for_all
        if entry.type == GNU_SPARSE:
            entry = sparse.of_header(block, entry._replace(type=REGULAR), blocks, limit)
        size = entry.size if entry.type == REGULAR else 0
        end = blocks.position + size + -size % BLOCK
        if holes and entry.type == REGULAR:
            entry = sparse.of_records(holes, entry, blocks, limit)
        if entry.sparse:
            most -= entry.sparse.size
            if most < 0:
                raise InvalidLayer("holes of more than may be unpacked", entry=shown(entry.name))
        yield entry
        blocks.skip(end - blocks.position)
    if more.pending:
        raise InvalidLayer("the archive ends after an extended header")


def _checked(entry: Entry) -> Entry:
    if entry.uid > LAST_ID or entry.gid > LAST_ID:
        raise InvalidLayer(f"owner {entry.uid}:{entry.gid} out of range", entry=shown(entry.name))
    if not -_LAST_TIME < entry.mtime < _LAST_TIME:
        raise InvalidLayer("its time is out of range", entry=shown(entry.name))
    if entry.type == OLD:  # V7 knows directories by their name only
        return entry._replace(type=DIRECTORY if entry.name.endswith(b"/") else REGULAR)
    return entry


def shown(name: bytes) -> str:
    """A name from an archive as text; what is not UTF-8 in it as lone surrogates."""
    return name.decode("utf-8", "surrogateescape")
