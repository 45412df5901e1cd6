"""Rules about the process, and about what must be there at all (config.md)."""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.oci.kinds import Problem
from mobyshell.core.oci.process import Scheduler
from mobyshell.core.oci.rules.common import each
from mobyshell.core.oci.safejson import show
from mobyshell.core.oci.spec import Spec

_POSIX = "config.md#posix-process"
_LINUX = "config.md#linux-process"


def complete(spec: Spec) -> Iterator[Problem]:
    """A process has arguments; a container has a root, and is one of Linux."""
    if spec.process is not None and not spec.process.args:
        yield Problem("process.args", "nothing", "args must not be empty", _POSIX)
    elif spec.process is not None and (spec.process.args or ("",))[0] == "":
        yield Problem("process.args[0]", '""', "the name of a program", _POSIX)
    if spec.root is None:
        yield Problem("root", "nothing", "it is required on Linux", "config.md#root")
    if spec.linux is None:
        # optional for the spec, but without it there are no namespaces, so no container
        yield Problem("linux", "nothing", "it is required for a container of Linux",
                      "config.md#platform-specific-configuration")  # fmt: skip


def environment(spec: Spec) -> Iterator[Problem]:
    """POSIX's environ: strings of the form name=value. runc refuses others too."""
    for index, one in each(spec.process.env if spec.process else None):
        if one.find("=") < 1:
            yield Problem(f"process.env[{index}]", show(one), "NAME=VALUE", _POSIX)


def rlimits(spec: Spec) -> Iterator[Problem]:
    """Each type once; the soft limit is below the hard one (setrlimit(2) gives EINVAL)."""
    seen: set[str] = set()
    for index, one in each(spec.process.rlimits if spec.process else None):
        path = f"process.rlimits[{index}]"
        if one.type in seen:
            yield Problem(f"{path}.type", f'"{one.type}" again', "each type once", _POSIX)
        seen.add(one.type)
        if one.soft > one.hard:
            yield Problem(f"{path}.soft", str(one.soft), f"at most hard, {one.hard}", _POSIX)


def scheduler(spec: Spec) -> Iterator[Problem]:
    """sched_setattr(2): priorities are for real-time policies, times for deadlines."""
    one = spec.process.scheduler if spec.process else None
    if one is None:
        return
    path, realtime = "process.scheduler", one.policy in ("SCHED_FIFO", "SCHED_RR")
    if one.priority and not realtime:
        yield Problem(f"{path}.priority", str(one.priority),
                      "only with SCHED_FIFO or SCHED_RR", _LINUX)  # fmt: skip
    if realtime and not 1 <= (one.priority or 0) <= 99:
        yield Problem(f"{path}.priority", show(one.priority), f"1 to 99 with {one.policy}", _LINUX)
    yield from _deadline(one, path)


def _deadline(one: Scheduler, path: str) -> Iterator[Problem]:
    times = {"runtime": one.runtime, "deadline": one.deadline, "period": one.period}
    if one.policy != "SCHED_DEADLINE":
        for name, value in times.items():
            if value:
                yield Problem(f"{path}.{name}", str(value), "only with SCHED_DEADLINE", _LINUX)
        return
    runtime, deadline = one.runtime or 0, one.deadline or 0
    period = one.period or deadline  # sched(7): no period is one as long as the deadline
    if not 0 < runtime <= deadline <= period:
        shown = ", ".join(f"{name} {value or 0}" for name, value in times.items())
        yield Problem(path, shown, "0 < runtime <= deadline <= period", _LINUX)
