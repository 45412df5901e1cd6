"""Freed memory that is kept: the kernel need not clear it again for the next buffer."""

from __future__ import annotations

import subprocess
import sys

_FAULTS = """
import resource, sys
from mobyshell.core.linux.memory import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in range(256 << 10, 1 << 20, 16 << 10):
        b"x" * size
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    keep_freed(8 << 20)
print(faults())
"""


def _faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout)


def test_what_is_freed_is_used_again() -> None:
    """Page faults of fifty buffers, one after the other, each a little larger."""
    assert 4 * _faults("kept") < _faults("as ever")
