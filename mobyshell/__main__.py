"""`mobyshell` and `python -m mobyshell`: argv to a face."""

from __future__ import annotations

import gc
import sys

_GARBAGE = 50_000
"""New objects between two looks for cycles. What a verb makes is modules and what they define, which
stay: looking through them as often as Python would takes a tenth of its time."""


def main() -> int:
    """The console script."""
    gc.set_threshold(_GARBAGE, 20, 20)
    from mobyshell.commands.cli import run

    try:
        return run(sys.argv[1:])
    finally:
        gc.freeze()  # nor are they looked through once more when all of it ends


if __name__ == "__main__":
    sys.exit(main())
