"""Numbers as blocks of text: a line of them, or several lines high. Pure.

Values that are not a number leave a gap: nothing was measured there, which is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
_STEPS = len(BLOCKS) - 1
_SMALLEST = 1
"""Eighths of a line by which a value above zero is seen at least."""


def ceiling(values: Sequence[float], least: float = 0.0) -> float:
    """The value that is as high as the graph: the largest, but at least `least`."""
    return max((one for one in values if not math.isnan(one)), default=0.0) or least or 1.0


def spark(values: Sequence[float], width: int, *, top: float = 0.0) -> str:
    """The last `width` values as one line; `top`: the value that fills it (0: the largest)."""
    return graph(values, width, 1, top=top)[0]


def graph(values: Sequence[float], width: int, height: int, *, top: float = 0.0) -> list[str]:
    """The last `width` values as `height` lines, the newest at the right edge."""
    shown = [math.nan] * (width - len(values)) + list(values[-width:])
    high = top or ceiling(shown)
    eighths = [_eighths(one, high, height) for one in shown]
    return ["".join(_block(one, row) for one in eighths) for row in reversed(range(height))]


def _eighths(value: float, high: float, height: int) -> int:
    if math.isnan(value) or value < 0:
        return 0
    filled = round(min(value / high, 1.0) * height * _STEPS)
    return max(filled, _SMALLEST) if value > 0 else 0


def _block(eighths: int, row: int) -> str:
    return BLOCKS[max(0, min(eighths - row * _STEPS, _STEPS))]
