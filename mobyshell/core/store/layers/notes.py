"""What a layer has, or a tree, that was left out: said, but no reason to fail."""

from __future__ import annotations

from mobyshell.core.store.layers.values import MOST_LEFT_OUT


class Notes:
    """Lines, each once and not too many."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}
        self._more = 0

    def add(self, line: str) -> None:
        """One more thing that was left out."""
        if line not in self._lines:
            if len(self._lines) < MOST_LEFT_OUT:
                self._lines[line] = None
            else:
                self._more += 1

    def lines(self) -> tuple[str, ...]:
        """All of them, and how many more there were."""
        more = (f"and {self._more} more",) if self._more else ()
        return (*self._lines, *more)
