"""The last values of a quantity, in memory that is taken once. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

NOTHING = float("nan")
"""What stands where nothing was measured."""


class Ring:
    """At most `length` numbers, of which a new one takes the place of the oldest."""

    __slots__ = ("_count", "_next", "_values")

    def __init__(self, length: int) -> None:
        self._values = array("d", (NOTHING,)) * length
        self._next = self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[float]:
        """The oldest first."""
        length = len(self._values)
        first = self._next - self._count
        return (self._values[(first + index) % length] for index in range(self._count))

    def add(self, value: float) -> None:
        """Take a number; NOTHING where there was none."""
        self._values[self._next] = value
        self._next = (self._next + 1) % len(self._values)
        self._count = min(self._count + 1, len(self._values))

    @property
    def last(self) -> float:
        """The newest; NOTHING before the first."""
        return self._values[self._next - 1] if self._count else NOTHING

    def newest(self, count: int) -> list[float]:
        """The last `count` or fewer, the oldest of them first."""
        length, count = len(self._values), min(count, self._count)
        first = self._next - count
        return [self._values[(first + index) % length] for index in range(count)]
