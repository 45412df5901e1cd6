"""Faults at the K-th system call of a kind, by strace: enumerated, then put in one at a time.

strace counts for each thread by itself, so the K-th is that of whichever thread comes there first;
a point at which nobody came is no point, and is not counted (`Struck.hit`).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parents[2]
ALL = os.environ.get("MOBYSHELL_SWEEP") == "all"
"""As many points as make a sweep, not a few."""
MOST = int(os.environ.get("MOBYSHELL_SWEEP_POINTS", "150"))
"""Of one act and one kind of fault."""
PATIENCE = 60.0
"""Seconds. Each new process counts anew, so that a shim may be killed again and again at its start: then
strace is killed, and what it traced goes on."""

NAMES = ("rename", "renameat", "renameat2", "link", "linkat", "symlinkat", "unlink", "unlinkat",
         "mkdir", "mkdirat", "rmdir", "mknodat", "ftruncate", "fchmod", "fchown")  # fmt: skip
DISK = ("fsync", "fdatasync", "syncfs", "pwrite64")
CHANGES = (*NAMES, *DISK)
"""The calls after which a disk is another."""


_QUICK = "--seccomp-bpf"
"""Other calls cost nothing then."""


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`-th `call` of a thread, from 1 on."""

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} {self.number}"


@dataclass(frozen=True, slots=True)
class Struck:
    """What came of a run with a fault in it."""

    done: subprocess.CompletedProcess[str]
    hit: bool
    took: float

    @property
    def clean(self) -> bool:
        """Whether it ended as programs end: with a message, if at all."""
        return "Traceback" not in self.done.stderr


def _run(
    flags: Sequence[str], words: Sequence[str], env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    whole = ["strace", "-f", "-q", *flags, *words]
    try:
        return subprocess.run(whole, cwd=HERE, env=env, text=True, capture_output=True,
                              timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)  # fmt: skip
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(whole, -signal.SIGKILL, "", _text(late.stderr))


def _text(said: str | bytes | None) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else said or ""


def points(
    words: Sequence[str], calls: Sequence[str], log: Path, env: Mapping[str, str]
) -> list[Point]:
    """Every point of a whole run, in the order in which they came."""
    done = _run([_QUICK, "-o", str(log), "-e", f"trace={','.join(calls)}"], words, env)
    assert done.returncode == 0, (words, done.stderr)
    counted: Counter[tuple[str, str]] = Counter()
    found: dict[Point, None] = {}
    for line in log.read_text(errors="replace").splitlines():
        thread, _, rest = line.partition(" ")
        call = rest.strip().partition("(")[0]
        if call in calls:
            counted[thread, call] += 1
            found[Point(call, counted[thread, call])] = None
    return list(found)


def strike(
    words: Sequence[str], point: Point, how: str, log: Path, env: Mapping[str, str]
) -> Struck:
    """Run with one fault: `how` is `signal=KILL` or `error=ENOSPC`, with what strace takes behind
    `when=K`: `error=ENOSPC+` from the point on, `error=EINTR+2` at every second one."""
    fault, plus, step = how.partition("+")
    began = time.monotonic()
    flags = ["-o", str(log), "-e", f"trace={point.call}",
             "-e", f"inject={point.call}:{fault}:when={point.number}{plus}{step}"]  # fmt: skip
    if "KILL" not in how:
        flags.append(_QUICK)  # with which strace 6.1 sends no signals
    done = _run(flags, words, env)
    # who is killed never learns what the call would have returned
    mark = r"= \?$" if "KILL" in how else r"\(INJECTED\)$"
    hit = re.search(mark, log.read_text(errors="replace"), re.MULTILINE) is not None
    return Struck(done, hit, time.monotonic() - began)


def some(every: Sequence[Point], count: int) -> list[Point]:
    """`count` of them, spread evenly; in a sweep `MOST`."""
    count = MOST if ALL else count
    if len(every) <= count:
        return list(every)
    return [every[number * len(every) // count] for number in range(count)]
