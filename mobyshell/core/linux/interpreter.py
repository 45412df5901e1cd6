"""Our interpreter as a program that nobody can overwrite: a sealed copy in memory.

A Python process that a container can see, or that executes what a container names, must be run
from it: /proc/PID/exe of any other leads to a file of the host (CVE-2019-5736).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mobyshell.core.linux.memory import sealed

_SEALED = "/memfd:mobyshell"
_KEPT = "MOBYSHELL_LIBRARY_PATH"


def sealed_copy() -> int:
    """A descriptor of a copy of this interpreter. SyscallFailed if the kernel refuses one."""
    return sealed("mobyshell", Path("/proc/self/exe").read_bytes())


def library() -> str:
    """The directory of libpython, "" if this interpreter has none: a copy finds none beside itself."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            if "/libpython3" in line:
                return os.path.dirname(line.split(maxsplit=5)[5].strip())
    return ""


def import_paths() -> list[str]:
    """Where a program of ours that is run with `-I -S` finds what we do: this package, and what is
    installed beside it.

    Not the rest of our sys.path: a script's directory has no business in a process that lives on.
    """
    package = os.path.abspath(__file__)
    for _ in range(4):
        package = os.path.dirname(package)
    beside = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    return [package, *(path for path in beside if path != package)]


def module(name: str) -> list[str]:
    """The words of a program that is `main(arguments)` of a module of ours, wherever this installation
    is; more words are its arguments."""
    code = (f"import sys; sys.path[:0] = {import_paths()!r}; from {name} import main; "
            "sys.exit(main(sys.argv[1:]))")  # fmt: skip
    return [sys.executable, "-I", "-c", code]


def become_sealed(words: list[str]) -> None:
    """Execute this interpreter again from a copy, with `words` after its name; once, then return.

    Afterwards the environment is what it was before. SyscallFailed or OSError if it cannot be.
    """
    environment = os.environ
    if os.readlink("/proc/self/exe").startswith(_SEALED):
        kept = environment.pop(_KEPT, None)
        if kept:
            environment["LD_LIBRARY_PATH"] = kept
        elif kept is not None:
            environment.pop("LD_LIBRARY_PATH", None)
        return
    changed = dict(environment)
    if place := library():
        changed[_KEPT] = environment.get("LD_LIBRARY_PATH", "")
        changed["LD_LIBRARY_PATH"] = place
    os.execve(f"/proc/self/fd/{sealed_copy()}", [sys.executable, *words], changed)
