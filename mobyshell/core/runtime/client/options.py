"""The options of an OCI runtime's commands, as values; and the words they are on a command line.

Owns the flags: each is declared once, with the field it comes from (runc's man pages, runc(8) and
its companions, are the contract that crun and others follow). Pure: touches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

__all__ = [
    "CheckpointOptions",
    "CreateOptions",
    "ExecOptions",
    "GlobalOptions",
    "Limits",
    "RestoreOptions",
    "RunOptions",
    "words",
]  # fmt: skip


def _flag(name: str, default: Any) -> Any:
    return field(default=default, metadata={"flag": name})


def words(options: object) -> list[str]:
    """The options that are set, as `--flag value` (what is repeated comes repeatedly)."""
    found: list[str] = []
    for one in fields(options):  # type: ignore[arg-type]
        name, value = one.metadata.get("flag"), getattr(options, one.name)
        if name is None or value is None or value is False or value == one.default:
            continue
        for item in value if isinstance(value, tuple) else (value,):
            # in two words, never `--flag=value`: some runtimes' parsers know only these
            found += [name] if item is True else [name, str(item)]
    return found


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """What stands before the command. `rootless`: auto, true or false."""

    root: str = _flag("--root", "")
    debug: bool = _flag("--debug", False)
    systemd_cgroup: bool = _flag("--systemd-cgroup", False)
    rootless: str = _flag("--rootless", "")
    criu: str = _flag("--criu", "")


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """`create` (runc-create(8)). `console_socket`, `pidfd_socket`: paths of Unix sockets."""

    console_socket: str = _flag("--console-socket", "")
    pidfd_socket: str = _flag("--pidfd-socket", "")
    no_pivot: bool = _flag("--no-pivot", False)
    no_new_keyring: bool = _flag("--no-new-keyring", False)
    preserve_fds: int = _flag("--preserve-fds", 0)


@dataclass(frozen=True, slots=True)
class RunOptions(CreateOptions):
    """`run` (runc-run(8)): those of create, and what becomes of it."""

    keep: bool = _flag("--keep", False)
    no_subreaper: bool = _flag("--no-subreaper", False)


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """`exec` (runc-exec(8)). `user`: UID[:GID]. What describes the process is not looked at when
    the process comes as a value of its own."""

    console_socket: str = _flag("--console-socket", "")
    pidfd_socket: str = _flag("--pidfd-socket", "")
    tty: bool = _flag("--tty", False)
    cwd: str = _flag("--cwd", "")
    env: tuple[str, ...] = _flag("--env", ())
    user: str = _flag("--user", "")
    additional_gids: tuple[int, ...] = _flag("--additional-gids", ())
    process_label: str = _flag("--process-label", "")
    apparmor: str = _flag("--apparmor", "")
    no_new_privs: bool = _flag("--no-new-privs", False)
    caps: tuple[str, ...] = _flag("--cap", ())
    preserve_fds: int = _flag("--preserve-fds", 0)
    cgroups: tuple[str, ...] = _flag("--cgroup", ())
    ignore_paused: bool = _flag("--ignore-paused", False)


@dataclass(frozen=True, slots=True)
class Limits:
    """`update`'s flags (runc-update(8)). Bytes, microseconds, counts; -1 for no limit."""

    memory: int | None = _flag("--memory", None)
    memory_swap: int | None = _flag("--memory-swap", None)
    memory_reservation: int | None = _flag("--memory-reservation", None)
    cpu_share: int | None = _flag("--cpu-share", None)
    cpu_quota: int | None = _flag("--cpu-quota", None)
    cpu_period: int | None = _flag("--cpu-period", None)
    cpu_burst: int | None = _flag("--cpu-burst", None)
    cpu_idle: int | None = _flag("--cpu-idle", None)
    cpu_rt_period: int | None = _flag("--cpu-rt-period", None)
    cpu_rt_runtime: int | None = _flag("--cpu-rt-runtime", None)
    cpuset_cpus: str | None = _flag("--cpuset-cpus", None)
    cpuset_mems: str | None = _flag("--cpuset-mems", None)
    blkio_weight: int | None = _flag("--blkio-weight", None)
    pids_limit: int | None = _flag("--pids-limit", None)
    l3_cache_schema: str | None = _flag("--l3-cache-schema", None)
    mem_bw_schema: str | None = _flag("--mem-bw-schema", None)


@dataclass(frozen=True, slots=True)
class _ImageOptions:
    work_path: str = _flag("--work-path", "")
    tcp_established: bool = _flag("--tcp-established", False)
    ext_unix_sk: bool = _flag("--ext-unix-sk", False)
    shell_job: bool = _flag("--shell-job", False)
    file_locks: bool = _flag("--file-locks", False)
    lazy_pages: bool = _flag("--lazy-pages", False)
    auto_dedup: bool = _flag("--auto-dedup", False)
    manage_cgroups_mode: str = _flag("--manage-cgroups-mode", "")
    empty_ns: tuple[str, ...] = _flag("--empty-ns", ())


@dataclass(frozen=True, slots=True)
class CheckpointOptions(_ImageOptions):
    """`checkpoint` (runc-checkpoint(8)). `page_server`: ADDRESS:PORT. `status_fd`: an inherited
    descriptor that gets a NUL byte once lazy pages can be served."""

    parent_path: str = _flag("--parent-path", "")
    leave_running: bool = _flag("--leave-running", False)
    page_server: str = _flag("--page-server", "")
    status_fd: int = _flag("--status-fd", -1)
    pre_dump: bool = _flag("--pre-dump", False)
    tcp_skip_in_flight: bool = _flag("--tcp-skip-in-flight", False)
    link_remap: bool = _flag("--link-remap", False)


@dataclass(frozen=True, slots=True)
class RestoreOptions(_ImageOptions):
    """`restore` (runc-restore(8))."""

    console_socket: str = _flag("--console-socket", "")
    no_pivot: bool = _flag("--no-pivot", False)
    no_subreaper: bool = _flag("--no-subreaper", False)
    lsm_profile: str = _flag("--lsm-profile", "")
    lsm_mount_context: str = _flag("--lsm-mount-context", "")
