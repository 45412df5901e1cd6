"""`mobyshell` and `python -m mobyshell`: argv to a face."""

from __future__ import annotations

import sys


def main() -> int:
    """The console script."""
    from mobyshell.commands.cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
