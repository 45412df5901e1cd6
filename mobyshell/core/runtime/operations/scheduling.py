"""Operations that say when and where the process runs: policy, I/O, CPUs, memory, personality."""

from __future__ import annotations

import errno

from mobyshell.core.linux import scheduling as kernel
from mobyshell.core.oci import IOPriority, Linux, Process, Scheduler
from mobyshell.core.oci.linux import MemoryPolicy, Personality
from mobyshell.core.runtime.plan import Actor, Call, Data, Flags, Operation, Phase

_LINUX_PROCESS = "config.md#linux-process"

_CHRT = {
    "SCHED_OTHER": "--other", "SCHED_FIFO": "--fifo", "SCHED_RR": "--rr", "SCHED_BATCH": "--batch",
    "SCHED_IDLE": "--idle", "SCHED_DEADLINE": "--deadline",
}  # fmt: skip


def planned(process: Process, linux: Linux) -> list[Operation]:
    """When and where it runs; before it becomes somebody who may not ask for that."""
    operations = []
    if process.scheduler is not None:
        operations.append(scheduler(process.scheduler))
    if process.io_priority is not None:
        operations.append(io_priority(process.io_priority))
    if linux.memory_policy is not None:
        operations.append(memory_policy(linux.memory_policy))
    return operations


def scheduler(one: Scheduler) -> Operation:
    """The scheduling policy with its parameters."""
    flags = 0
    for name in one.flags or ():
        flags |= kernel.SCHED_FLAGS[name]
    attributes = kernel.Attributes(
        policy=kernel.POLICIES[one.policy], flags=flags, nice=one.nice or 0,
        priority=one.priority or 0, runtime=one.runtime or 0, deadline=one.deadline or 0,
        period=one.period or 0,
    )  # fmt: skip
    given = [
        f"{name} {value}" for name, value in (
            ("nice", one.nice), ("priority", one.priority), ("runtime", one.runtime),
            ("deadline", one.deadline), ("period", one.period), ("flags", "|".join(one.flags or ())),
        ) if value
    ]  # fmt: skip
    shown = ", ".join((one.policy, *given))
    deadline = one.policy == "SCHED_DEADLINE"
    refused = "real-time policies need CAP_SYS_NICE, and a share of cpu.rt_runtime_us in the cgroup"
    if deadline:
        refused = (
            "process scheduler can't be used together with AllowedCPUs: SCHED_DEADLINE needs "
            "CAP_SYS_NICE, and all CPUs of the machine"
        )
    hints = (
        (errno.EPERM, refused),
        (
            errno.EINVAL,
            refused if deadline else "a kernel may lack the policy; sched(7) has its values",
        ),
        (errno.EOPNOTSUPP, "clamping needs a kernel with CONFIG_UCLAMP_TASK"),
    )
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"schedule it by {shown}",
        why="Inherited by everything the container starts, unless it is reset at fork.",
        source="process.scheduler",
        spec=_LINUX_PROCESS,
        man="sched_setattr(2), sched(7)",
        calls=(Call("sched_setattr", (0, Data(attributes.pack(), f"{{{shown}}}"), 0)),),
        shell=_chrt(one),
        hints=hints,
    )


def _chrt(one: Scheduler) -> tuple[str, ...]:
    if one.policy not in _CHRT:
        return ()
    words = ["chrt"]
    if "SCHED_FLAG_RESET_ON_FORK" in (one.flags or ()):
        words.append("--reset-on-fork")
    for name, value in (
        ("runtime", one.runtime),
        ("deadline", one.deadline),
        ("period", one.period),
    ):
        if value:
            words.append(f"--sched-{name} {value}")
    lines = [f'{" ".join(words)} {_CHRT[one.policy]} --pid {one.priority or 0} "$$"']
    if one.nice and one.policy in ("SCHED_OTHER", "SCHED_BATCH"):
        lines.append(f'renice -n {one.nice} -p "$$" > /dev/null')
    return tuple(lines)


def io_priority(one: IOPriority) -> Operation:
    """The I/O class, and the level in it."""
    level = one.priority or 0
    value = kernel.io_priority_value(one.cls, level)
    shown = f"{one.cls}, level {level}"
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"set the I/O priority to {shown}",
        why="Who waits for the disk first; 0 is before 7, and idle is after everybody.",
        source="process.ioPriority",
        spec=_LINUX_PROCESS,
        man="ioprio_set(2)",
        calls=(
            Call(
                "ioprio_set",
                (Flags(kernel.IOPRIO_WHO_PROCESS, "IOPRIO_WHO_PROCESS"), 0, Flags(value, shown)),
                otherwise="the real-time class needs CAP_SYS_ADMIN or CAP_SYS_NICE",
            ),
        ),
        shell=(f'ionice --class {kernel.IO_CLASSES[one.cls]} --classdata {level} --pid "$$"',),
    )


def forget_affinity() -> Operation:
    """The CPUs that whoever called the runtime was bound to are not the container's."""
    every = Data(kernel.EVERY_CPU, "{all}")
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="let it run on every CPU of its cgroup",
        why="Affinity is inherited: if the runtime's caller was bound to a CPU, it would be too.",
        spec="config-linux.md#cpu",
        man="sched_setaffinity(2)",
        calls=(
            Call("sched_setaffinity", (0, len(kernel.EVERY_CPU), every),
                 tolerate=(errno.EINVAL, errno.EPERM)),
        ),
    )  # fmt: skip


def affinity(cpus: str, which: str, phase: Phase) -> Operation:
    """Bind the process to `cpus`, before (`initial`) or after (`final`) it is in its cgroups."""
    mask = kernel.mask_bytes(kernel.bits(cpus))
    when = "before" if which == "initial" else "when"
    return Operation(
        actor=Actor.CHILD,
        phase=phase,
        title=f"run on CPUs {cpus}",
        why=f"The spec binds a process that joins the container, {when} it is in its cgroups.",
        source=f"process.execCPUAffinity.{which}",
        spec=_LINUX_PROCESS,
        man="sched_setaffinity(2)",
        calls=(
            Call("sched_setaffinity", (0, len(mask), Data(mask, f"{{{cpus}}}")),
                 otherwise=f"none of the CPUs {cpus} is one that it may use"),
        ),
        shell=(f'taskset --cpu-list --pid {cpus} "$$"',),
    )  # fmt: skip


def memory_policy(one: MemoryPolicy) -> Operation:
    """From which NUMA nodes it gets memory."""
    value = kernel.MEMORY_MODES[one.mode]
    for name in one.flags or ():
        value |= kernel.MEMORY_FLAGS[name]
    shown = "|".join((one.mode, *(one.flags or ())))
    nodes: Data | int = 0
    count = 0
    if one.nodes:
        mask = kernel.mask_bytes(kernel.bits(one.nodes))
        # the kernel reads one bit less than it is told (mm/mempolicy.c, get_nodes)
        nodes, count = Data(mask, f"{{{one.nodes}}}"), 8 * len(mask) + 1
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"take memory by {shown}{f', nodes {one.nodes}' if one.nodes else ''}",
        why="Inherited across execve, and by everything the container starts.",
        source="linux.memoryPolicy",
        spec="config-linux.md#memory-policy",
        man="set_mempolicy(2)",
        calls=(
            Call("set_mempolicy", (Flags(value, shown), nodes, count),
                 otherwise="is it a policy of this kernel, and are the nodes there and allowed?"),
        ),
    )  # fmt: skip


def personality(one: Personality) -> Operation:
    """The execution domain."""
    value = kernel.PERSONALITIES[one.domain]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"take the personality {one.domain}",
        why="With LINUX32, uname(2) names the 32 bit machine: what builds for it expects that.",
        source="linux.personality",
        spec="config-linux.md#personality",
        man="personality(2)",
        calls=(Call("personality", (Flags(value, f"PER_{one.domain}"),)),),
        shell=(f"setarch {one.domain.lower()}" if value else "setarch linux64",),
    )
