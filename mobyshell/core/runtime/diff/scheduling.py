"""When and where the init runs, against the spec: the kernel tells all of it from outside."""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.linux import procfs, scheduling
from mobyshell.core.oci import Scheduler, Spec
from mobyshell.core.runtime.diff.words import line, unknown
from mobyshell.core.runtime.values import Difference

_ITS_OWN = "a program may change it"


def scheduling_lines(spec: Spec, pid: int) -> Iterator[Difference]:
    """Only what the spec asks for."""
    process, linux = spec.process, spec.linux
    if process is not None and process.scheduler is not None:
        yield _scheduler(process.scheduler, pid)
    if process is not None and process.io_priority is not None:
        one = process.io_priority
        wanted = f"{one.cls} {one.priority or 0}"
        yield _own("process.ioPriority", wanted, " ".join(map(str, scheduling.io_priority(pid))))
    if linux is not None and linux.personality is not None:
        number = int(procfs.read_file(pid, "personality"), 16) & 0xFF
        names = {value: name for name, value in scheduling.PERSONALITIES.items()}
        yield _own("linux.personality", linux.personality.domain, names.get(number, hex(number)))
    if linux is not None and linux.memory_policy is not None:
        policy = linux.memory_policy
        wanted = " ".join((policy.mode, policy.nodes or "")).strip()
        yield unknown("linux.memoryPolicy", wanted, "the kernel tells it only of mapped memory")


def _scheduler(one: Scheduler, pid: int) -> Difference:
    found = scheduling.attributes(pid)
    names = {number: name for name, number in scheduling.POLICIES.items()}
    wanted, there = [one.policy], [names.get(found.policy, str(found.policy))]
    for name in ("nice", "priority", "runtime", "deadline", "period"):
        if value := getattr(one, name):
            wanted.append(f"{name} {value}")
            there.append(f"{name} {getattr(found, name)}")
    return _own("process.scheduler", ", ".join(wanted), ", ".join(there))


def _own(path: str, wanted: str, found: str) -> Difference:
    if wanted == found:
        return line(path, wanted, found)
    return unknown(path, wanted, _ITS_OWN, found)
