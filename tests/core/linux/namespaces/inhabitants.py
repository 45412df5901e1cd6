"""Processes in namespaces of their own, for tests that look at them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY = "echo ready; exec sleep 1000"


@contextmanager
def inhabitant(*words: str, script: str = READY, before: Sequence[str] = ()) -> Iterator[int]:
    """A process that `unshare` with these options ends in; its pid. It ends with the block."""
    process = subprocess.Popen(
        [*before, "unshare", *words, "sh", "-c", script], stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield innermost(process.pid)
    finally:
        for pid in reversed(descent(process.pid)):
            subprocess.run(["kill", "-9", str(pid)], stderr=subprocess.DEVNULL, check=False)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def descent(pid: int) -> list[int]:
    """A process and its children, its first child's, and so on."""
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
    return found


def innermost(pid: int) -> int:
    """The last of them."""
    return descent(pid)[-1]
