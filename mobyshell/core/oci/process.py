"""`process`, `mounts`, `hooks` and `root` of a runtime config (config.md)."""

from __future__ import annotations

from typing import Any

from mobyshell.core.oci.formats import NUMBER_LIST
from mobyshell.core.oci.kinds import (
    I32,
    ID,
    U16,
    U32,
    U64,
    array,
    boolean,
    extras,
    integer,
    member,
    one_of,
    record,
    text,
)  # fmt: skip
from mobyshell.core.values import named_value

_PROCESS = "config.md#process"
_LINUX = "config.md#linux-process"


@named_value
class ConsoleSize:
    """The size of the terminal, in characters."""

    height: int = member("height", U16, required=True)
    width: int = member("width", U16, required=True)
    extra: dict[str, Any] = extras()


@named_value
class User:
    """Who the process is, inside the container."""

    uid: int = member("uid", ID, "config.md#user", required=True)
    gid: int = member("gid", ID, "config.md#user", required=True)
    umask: int | None = member("umask", integer(0, 0o777), "config.md#user")
    additional_gids: tuple[int, ...] | None = member("additionalGids", array(ID), "config.md#user")
    username: str | None = member("username", text(), "config.md#user")
    extra: dict[str, Any] = extras()


CAPABILITIES = frozenset({
    "CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER",
    "CAP_FSETID", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
    "CAP_SETUID", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE",
    "CAP_SYS_NICE", "CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_WAKE_ALARM",
})  # fmt: skip
"""capabilities(7). Others are not refused: the spec wants a warning (see rules.warnings)."""


@named_value
class Capabilities:
    """The five sets (capabilities(7)), by name."""

    bounding: tuple[str, ...] | None = member("bounding", array(text()))
    effective: tuple[str, ...] | None = member("effective", array(text()))
    inheritable: tuple[str, ...] | None = member("inheritable", array(text()))
    permitted: tuple[str, ...] | None = member("permitted", array(text()))
    ambient: tuple[str, ...] | None = member("ambient", array(text()))
    extra: dict[str, Any] = extras()


RLIMITS = (
    "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC",
    "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK",
)  # fmt: skip


@named_value
class Rlimit:
    """A resource limit (getrlimit(2)); 2^64-1 is none."""

    type: str = member("type", one_of(*RLIMITS), required=True)
    hard: int = member("hard", U64, required=True)
    soft: int = member("soft", U64, required=True)
    extra: dict[str, Any] = extras()


_POLICIES = (
    "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE",
    "SCHED_DEADLINE",
)  # fmt: skip
_SCHEDULER_FLAGS = (
    "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
)  # fmt: skip


@named_value
class Scheduler:
    """The scheduling policy (sched_setattr(2))."""

    policy: str = member("policy", one_of(*_POLICIES), required=True)
    nice: int | None = member("nice", integer(-20, 19))
    priority: int | None = member("priority", I32)
    flags: tuple[str, ...] | None = member("flags", array(one_of(*_SCHEDULER_FLAGS)))
    runtime: int | None = member("runtime", U64)
    deadline: int | None = member("deadline", U64)
    period: int | None = member("period", U64)
    extra: dict[str, Any] = extras()


@named_value
class IOPriority:
    """The I/O priority (ioprio_set(2))."""

    cls: str = member(
        "class", one_of("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"), required=True
    )
    priority: int | None = member("priority", integer(0, 7))
    extra: dict[str, Any] = extras()


@named_value
class ExecCPUAffinity:
    """CPUs of an exec'd process, before and after it is in the container's cgroup."""

    initial: str | None = member("initial", NUMBER_LIST)
    final: str | None = member("final", NUMBER_LIST)
    extra: dict[str, Any] = extras()


@named_value
class Process:
    """The container's program."""

    terminal: bool | None = member("terminal", boolean, _PROCESS)
    console_size: ConsoleSize | None = member("consoleSize", record(ConsoleSize), _PROCESS)
    user: User = member("user", record(User), _PROCESS, required=True)
    args: tuple[str, ...] | None = member("args", array(text()), "config.md#posix-process")
    command_line: str | None = member("commandLine", text(), _PROCESS)
    env: tuple[str, ...] | None = member("env", array(text()), "config.md#posix-process")
    cwd: str = member("cwd", text(absolute=True), _PROCESS, required=True)
    capabilities: Capabilities | None = member("capabilities", record(Capabilities), _LINUX)
    rlimits: tuple[Rlimit, ...] | None = member(
        "rlimits", array(record(Rlimit)), "config.md#posix-process"
    )
    no_new_privileges: bool | None = member("noNewPrivileges", boolean, _LINUX)
    apparmor_profile: str | None = member("apparmorProfile", text(), _LINUX)
    oom_score_adj: int | None = member("oomScoreAdj", integer(-1000, 1000), _LINUX)
    scheduler: Scheduler | None = member("scheduler", record(Scheduler), _LINUX)
    selinux_label: str | None = member("selinuxLabel", text(), _LINUX)
    io_priority: IOPriority | None = member("ioPriority", record(IOPriority), _LINUX)
    exec_cpu_affinity: ExecCPUAffinity | None = member(
        "execCPUAffinity", record(ExecCPUAffinity), _LINUX
    )
    extra: dict[str, Any] = extras()


@named_value
class IDMapping:
    """A range of ids inside, and where it is outside."""

    container_id: int = member("containerID", U32, required=True)
    host_id: int = member("hostID", U32, required=True)
    size: int = member("size", integer(1, 2**32 - 1), required=True)
    extra: dict[str, Any] = extras()


@named_value
class Mount:
    """A mount inside the container; `source` of a bind is relative to the bundle."""

    destination: str = member("destination", text(empty=False), required=True)
    type: str | None = member("type", text())
    source: str | None = member("source", text())
    options: tuple[str, ...] | None = member("options", array(text()))
    uid_mappings: tuple[IDMapping, ...] | None = member("uidMappings", array(record(IDMapping)))
    gid_mappings: tuple[IDMapping, ...] | None = member("gidMappings", array(record(IDMapping)))
    extra: dict[str, Any] = extras()


@named_value
class Hook:
    """A program that runs at a point of the container's life. `timeout` in seconds."""

    path: str = member("path", text(absolute=True), required=True)
    args: tuple[str, ...] | None = member("args", array(text()))
    env: tuple[str, ...] | None = member("env", array(text()))
    timeout: int | None = member("timeout", integer(1, 2**31 - 1))
    extra: dict[str, Any] = extras()


_HOOKS = array(record(Hook))


@named_value
class Hooks:
    """The hooks of all six kinds, each in the order they run."""

    prestart: tuple[Hook, ...] | None = member("prestart", _HOOKS)
    create_runtime: tuple[Hook, ...] | None = member("createRuntime", _HOOKS)
    create_container: tuple[Hook, ...] | None = member("createContainer", _HOOKS)
    start_container: tuple[Hook, ...] | None = member("startContainer", _HOOKS)
    poststart: tuple[Hook, ...] | None = member("poststart", _HOOKS)
    poststop: tuple[Hook, ...] | None = member("poststop", _HOOKS)
    extra: dict[str, Any] = extras()


@named_value
class Root:
    """The root filesystem; `path` is absolute or relative to the bundle."""

    path: str = member("path", text(empty=False), required=True)
    readonly: bool | None = member("readonly", boolean)
    extra: dict[str, Any] = extras()


__all__ = [
    "CAPABILITIES", "RLIMITS", "Capabilities", "ConsoleSize", "ExecCPUAffinity", "Hook", "Hooks", "IDMapping",
    "IOPriority", "Mount", "Process", "Rlimit", "Root", "Scheduler", "User",
]  # fmt: skip
