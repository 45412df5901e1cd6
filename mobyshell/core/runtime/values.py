"""What the runtime's verbs answer: plain values, no behaviour."""

from __future__ import annotations

from enum import StrEnum

from mobyshell.core.values import value


class Status(StrEnum):
    """The states of runtime-spec, with `paused` as runc has it, and `restarting` as docker: of a task
    that has ended and is about to be started again."""

    CREATING = "creating"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    RESTARTING = "restarting"


@value
class RootMount:
    """What the root filesystem is mounted from, as a snapshotter says it: the words of mount(8).
    Paths in the options are escaped as overlayfs takes them."""

    type: str
    source: str
    options: tuple[str, ...] = ()


@value
class Options:
    """What a caller wants of a container (or an exec) that its spec does not say.

    `kept`: descriptors of the caller that the program gets as 3, 4, … (`--preserve-fds`).
    `owned`: which of the streams 0, 1, 2 are to belong to the program's user; None: those that
    can, but /dev/null.
    `keyring`: a session keyring of its own. `pivot`: pivot_root; without it the root is moved over
    `/`, for a root on a ramdisk, and `bare` are the mount points of whole procfs and sysfs that the
    container must not reach then. `find_program`: that there is a program is the business of
    `create`, not of `start`. `directories`: to be made in the state directory. `rootfs`: what is to be
    mounted on its root.path, in the container's mount namespace only.
    """

    kept: tuple[int, ...] = ()
    owned: tuple[int, ...] | None = None
    keyring: bool = True
    pivot: bool = True
    bare: tuple[str, ...] = ()
    find_program: bool = False
    directories: tuple[str, ...] = ()
    rootfs: RootMount | None = None


PLAIN = Options()


@value
class ProcessInfo:
    """A process inside a task, as the host sees it. `rss` in bytes, `cpu_ns` user + system."""

    pid: int
    ppid: int
    pid_inside: int
    uid: int
    state: str
    rss: int
    cpu_ns: int
    command: str


@value
class Stats:
    """What the cgroups count. Bytes and ns. None: not known here; of a limit, that there is none."""

    time_ns: int
    cpu_ns: int | None
    cpu_throttled_ns: int | None
    memory: int | None
    memory_limit: int | None
    memory_peak: int | None
    pids: int | None
    pids_limit: int | None
    io_read: int | None
    io_write: int | None
    oom_kills: int | None = None


@value
class Difference:
    """Spec against kernel, one line: `agrees` is None where the kernel cannot be asked."""

    path: str
    wanted: str
    found: str
    agrees: bool | None
    note: str = ""
