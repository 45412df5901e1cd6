"""Files with holes, in the four ways that GNU tar has had for them (its manual, Sparse Formats).

Every map is bounded like other extended headers, and checked before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.store.layers.tar.blocks import BLOCK, Blocks
from mobyshell.core.store.layers.tar.headers import Entry, Sparse, number

KEYS = b"GNU.sparse."
OFFSET, NUMBYTES, MAP = b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"GNU.sparse.map"
NAME = b"GNU.sparse.name"

_OLD_FIRST, _OLD_NEXT = (386, 4, 482), (0, 21, 504)
"""Of the old format's header and of blocks that continue it: where the map is, how many pairs, where
it is said that there is more."""
_OLD_SIZE = 483
_MOST_DIGITS = 20


def of_header(block: bytes, entry: Entry, blocks: Blocks, limit: int) -> Entry:
    """The old format (type `S`): the map is in the header and in blocks that follow it."""
    numbers: list[int] = []
    size = number(block[_OLD_SIZE : _OLD_SIZE + 12], "size")
    here = block
    start, pairs, more = _OLD_FIRST
    while True:
        for at in range(start, start + 24 * pairs, 12):
            field = here[at : at + 12]
            if field[0]:  # the rest is empty
                numbers.append(number(field, "sparse map"))
        if not here[more]:
            break
        limit -= BLOCK
        here = blocks.exactly(BLOCK)
        if limit < 0:
            raise InvalidLayer("a sparse map that is too long")
        start, pairs, more = _OLD_NEXT
    return entry._replace(sparse=_checked(numbers, size, entry.size))


def of_records(told: Mapping[bytes, bytes], entry: Entry, blocks: Blocks, limit: int) -> Entry:
    """The formats 0.0, 0.1 and 1.0, which pax records announce. In the last one the map is before the
    data, and is taken from `blocks`."""
    real = told.get(b"GNU.sparse.realsize", told.get(b"GNU.sparse.size"))
    if real is None:
        raise InvalidLayer("a sparse file without a size")
    size = _decimal(real)
    if told.get(b"GNU.sparse.major") == b"1":
        numbers, taken = _from_data(blocks, min(limit, entry.size))
        left = entry.size - taken
        return entry._replace(size=left, sparse=_checked(numbers, size, left))
    text = told.get(MAP, b"")
    numbers = [_decimal(one) for one in text.split(b",")] if text else []
    return entry._replace(sparse=_checked(numbers, size, entry.size))


def _from_data(blocks: Blocks, limit: int) -> tuple[list[int], int]:
    """The numbers before the data, a line each, the first one how many pairs there are; and how many
    bytes that took, which are whole blocks."""
    taken = 0

    def lines() -> Iterator[bytes]:
        nonlocal taken
        rest = b""
        while True:
            if taken + BLOCK > limit:
                raise InvalidLayer("a sparse map that is too long, or cut off")
            taken += BLOCK
            *whole, rest = (rest + blocks.exactly(BLOCK)).split(b"\n")
            if len(rest) > BLOCK:
                raise InvalidLayer("a sparse map of no numbers")
            yield from whole

    found = lines()
    pairs = _decimal(next(found))
    numbers = [_decimal(next(found)) for _ in range(2 * pairs)]
    return numbers, taken


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MOST_DIGITS:
        raise InvalidLayer(f"a sparse map with what is no number: {text[:40]!r}")
    return int(text)


def _checked(numbers: list[int], size: int, stored: int) -> Sparse:
    """The segments: one after the other, within the file, and as much as is stored."""
    if len(numbers) % 2:
        raise InvalidLayer("a sparse map of half a segment")
    segments = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for offset, length in segments:
        if offset < end:
            raise InvalidLayer("a sparse map whose segments overlap")
        end = offset + length
    if end > size or size >= 1 << 63:
        raise InvalidLayer("a sparse map that leads out of the file")
    if sum(length for _, length in segments) != stored:
        raise InvalidLayer("a sparse map of another size than the data")
    return Sparse(segments, size)
