"""What stands where in a flat program: the words of its header, and its pointers to texts.

`program` makes programs of this layout and says what a record is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum

from mobyshell.core.values import value

WORDS = 10
"""Of a record."""


class Header(IntEnum):
    """The header's words, by their index. `stub.s` of the native executor knows them too."""

    COOKIE = 0
    BASE = 1
    """Where the mapping lies, in every process."""
    BYTES = 2
    LENGTH = 3
    """How many records."""
    CLOCK = 4
    """Where clock_gettime is in the vdso."""
    BEFORE = 5
    """Base and bytes of the program to be walked first, or 0."""
    BEFORE_BYTES = 6
    BEHIND = 7
    """1: whoever maps this makes the child that walks it, beside itself (CLONE_PARENT); 2: it walks
    it itself, and then makes such children of the programs that it is sent (`usher`)."""
    CHILD = 8
    """That child's pid, or -errno."""
    NAME = 10
    """What the process is called: 16 bytes."""
    CLONE_ARGS = 16
    """struct clone_args for that child."""


@value
class Layout:
    """Where a program's pointers are. `records`: (record, word, what in the arena it points to);
    `arena`: (where in the arena, what there it points to); `texts`: what lies where in it."""

    records: Sequence[tuple[int, int, int]]
    arena: Sequence[tuple[int, int]]
    texts: Mapping[int, str]
    arena_at: int

    def pointers(self) -> Iterator[tuple[int, str]]:
        """Every pointer to a text: where it lies in the mapping, and what the text is."""
        places = [(8 * (index * WORDS + word), place) for index, word, place in self.records]
        places += [(self.arena_at + at, place) for at, place in self.arena]
        for at, place in places:
            text = self.texts.get(place)
            if text is not None:
                yield at, text
