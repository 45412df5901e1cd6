"""The working directory that a program or a process begins in.

Owns being elsewhere for the moment in which one is made; it is the whole process that is, so never
where threads open relative paths. It says nothing of where anything should begin.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting_in(directory: int | None) -> Iterator[None]:
    """Make `directory` (a descriptor) the working directory while a child is made; None: as it is."""
    if directory is None:
        yield
        return
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(directory)
        try:
            yield
        finally:
            os.fchdir(here)
    finally:
        os.close(here)
