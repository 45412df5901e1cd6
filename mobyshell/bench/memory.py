"""How much memory the engines themselves keep resident: with no task, and per running task.

Two counts. PSS divides each shared page by all processes of the machine that map it, so it depends
on who else runs (this bench is Python, too, and takes a share of ours). Page frames count each page
once that any process of the engine maps, whoever else does: nothing is divided away.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mobyshell.bench.engine import Containerd, containerd
from mobyshell.bench.many import resident, running
from mobyshell.bench.places import processes
from mobyshell.bench.run import Bench, Measurement
from mobyshell.bench.workshop import Workshop, must_run, workshop
from mobyshell.core.errors import MobyshellError, TimedOut
from mobyshell.core.linux import procfs
from mobyshell.core.tasks.connect import connect

GOAL = 1 / 3
NOTE = (
    "Both engines run the same `sleep` in the same run, containerd without its CRI plugin; what the "
    "containers themselves use is not counted. PSS divides a page that several processes map by their "
    "number, whoever they are; page frames count each page once that any process of the engine maps, "
    "and divide nothing. Nothing has happened for a second, but where it says so. Our shim leaves five "
    "seconds after its last task and client, containerd stays. What it has read of programs and libraries "
    "at its start, it unmaps once it rests; the page cache keeps that as long as there is room."
)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PRESENT = 1 << 63
_FRAME = (1 << 55) - 1
_PATIENCE = 60.0
_REST = 1.0
"""Seconds in which nothing happens before anything is measured."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one engine: its proportional set size, and its page frames."""

    pss: int
    frames: int


def measure(pids: list[int]) -> Memory:
    """What `pids` have resident together, now. Root, as others are not told page frames."""
    found: set[int] = set()
    pss = 0
    for pid in pids:
        try:
            pss += resident([pid])
            found |= frames_of(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # a helper that has ended since it was listed
    return Memory(pss, len(found) * _PAGE)


def frames_of(pid: int) -> set[int]:
    """The numbers of the page frames that a process maps (pagemap.rst), without the kernel's own."""
    found: set[int] = set()
    with (
        open(f"/proc/{pid}/maps") as maps,
        open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap,
    ):
        for line in maps:
            words = line.split(maxsplit=5)
            if len(words) > 5 and words[5].startswith("[v"):  # vdso, vvar, vsyscall
                continue
            begin, _, end = words[0].partition("-")
            first, last = int(begin, 16) // _PAGE, int(end, 16) // _PAGE
            pagemap.seek(first * 8)
            data = _read(pagemap.fileno(), (last - first) * 8)
            for (entry,) in struct.iter_unpack("=Q", data[: len(data) // 8 * 8]):
                if entry & _PRESENT and entry & _FRAME:
                    found.add(entry & _FRAME)
    return found


def _read(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return bytes(data)


def measure_memory(number: int, say: Callable[[str], object]) -> Bench:
    """Measure both engines without a task, with one, and with `number`, which are two or more.

    Unsupported without containerd. Root only.
    """
    bench = Bench()
    with workshop() as shop, containerd(shop.directory / "containerd") as engine:
        say("no task")
        connect(str(shop.state)).close()
        time.sleep(_REST)
        idle = measure(ours(shop)), measure(theirs(engine))
        say("one task of each")
        with running(shop, 1), _their_tasks(shop, engine, 1):
            time.sleep(_REST)
            one = measure(ours(shop)), measure(theirs(engine))
        say(f"{number} tasks of each")
        with running(shop, number), _their_tasks(shop, engine, number):
            time.sleep(_REST)
            busy = measure(ours(shop)), measure(theirs(engine))
            say("a process more in each")
            _execute(shop, engine)
            served = measure(ours(shop)), measure(theirs(engine))
        say("no task any more")
        _until_gone(shop)
    who = ("keeper, shim", "containerd, shims")
    bench.found += _lines("no task", (Memory(0, 0), idle[1]), "nothing runs", "containerd")
    bench.found += _lines("no task, within 5 s of the last", idle, who[0], "containerd")
    bench.found += _lines("one task", one, who[0], "containerd, shim")
    bench.found += _lines(f"{number} tasks", busy, *who)
    bench.found += _lines(f"{number} tasks, just after an exec in each", served, *who)
    ours_each, theirs_each = (
        Memory((full.pss - first.pss) // (number - 1), (full.frames - first.frames) // (number - 1))
        for full, first in zip(busy, one, strict=True)
    )
    bench.found += _lines("each further task", (ours_each, theirs_each), "", "a shim")
    return bench


def _lines(
    name: str, both: tuple[Memory, Memory], we: str, they: str
) -> Iterator[Measurement]:  # fmt: skip
    for count in ("pss", "frames"):
        our, their = (getattr(one, count) for one in both)
        title = f"{name}: {'PSS' if count == 'pss' else 'page frames'}"
        yield Measurement(title, _said(our, we), _said(their, they), our / max(their, 1), GOAL)


def _said(size: int, who: str) -> str:
    text = f"{size / 2**20:.1f} MiB" if size >= 1 << 20 else f"{size / 1024:.0f} KiB"
    return f"{text} ({who})" if who else text


def ours(shop: Workshop) -> list[int]:
    """The keeper, the shim, and what they run beside the tasks themselves."""
    found = processes("tasks/shim.py", str(shop.state))
    tasks = {task.pid for task in shop.tasks.ls()}
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) not in found and int(name) not in tasks:
            try:
                parent = procfs.stat(int(name)).ppid
            except (MobyshellError, OSError):
                continue
            if parent in found:
                found.append(int(name))
    return found


def theirs(engine: Containerd) -> list[int]:
    """The daemon and its shims."""
    return [engine.pid, *processes("containerd-shim", engine.address)]


def _execute(shop: Workshop, engine: Containerd) -> None:
    """One more process in each task, on both sides, which has ended."""
    for number, task in enumerate(shop.tasks.ls()):
        process = shop.tasks.exec(task.id, ["/bin/true"])
        shop.tasks.wait(task.id, exec_id=process.exec_id, timeout=_PATIENCE)
        must_run([*engine.words, "task", "exec", "--exec-id", "more", f"k{number}", "/bin/true"])


@contextmanager
def _their_tasks(shop: Workshop, engine: Containerd, number: int) -> Iterator[None]:
    rootfs = str(shop.bundle / "rootfs")
    ids = [f"k{index}" for index in range(number)]
    made = []
    try:
        for id in ids:
            must_run([*engine.words, "run", "-d", "--rootfs", rootfs, id, "/bin/sleep", "100000"])
            made.append(id)
        yield
    finally:
        for id in made:
            engine.remove(id)


def _until_gone(shop: Workshop) -> None:
    """Nothing of ours is left by itself; TimedOut if it is."""
    shop.tasks.close()
    deadline = time.monotonic() + _PATIENCE
    while processes("tasks/shim.py", str(shop.state)):
        if time.monotonic() > deadline:
            raise TimedOut("keeper and shim did not leave")
        time.sleep(0.1)
