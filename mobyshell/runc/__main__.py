"""`python -m mobyshell.runc`."""

from __future__ import annotations

import sys

from mobyshell.runc.main import main

if __name__ == "__main__":
    sys.exit(main())
