"""Operations that give the process its identity and take away its powers, right before execve."""

from __future__ import annotations

import errno
import struct

from mobyshell.core.linux import constants as c
from mobyshell.core.linux import rlimits
from mobyshell.core.linux.capabilities import number as capability_number
from mobyshell.core.oci import Capabilities, Rlimit, User
from mobyshell.core.runtime.operations.calls import (
    AGENT,
    CWD,
    ROOT,
    close,
    flags,
    inside,
    permissions,
    quote,
    reach_directory,
    write_file,
)  # fmt: skip
from mobyshell.core.runtime.operations.verify import clear_bits, equal
from mobyshell.core.runtime.plan import (
    Actor,
    Call,
    Cell,
    Data,
    Flags,
    Operation,
    Phase,
    Scratch,
    Text,
)
from mobyshell.core.runtime.program import LENGTH


def rlimit(index: int, entry: Rlimit) -> Operation:
    """One resource limit."""
    number = rlimits.NUMBERS[entry.type]
    data = Data(rlimits.pack(entry.soft, entry.hard), f"{{{entry.soft}, {entry.hard}}}")
    option = entry.type.removeprefix("RLIMIT_").lower()
    both = ":".join(rlimits.show(value) for value in (entry.soft, entry.hard))
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"limit {entry.type.removeprefix('RLIMIT_')} to {entry.soft}, at most {entry.hard}",
        why="Limits are inherited; set before privileges are gone, because raising a hard one needs them.",
        source=f"process.rlimits[{index}]",
        spec="config.md#posix-process",
        man="prlimit(2)",
        calls=(Call("prlimit64", (0, Flags(number, entry.type), data, 0)),),
        shell=(f'prlimit --pid "$$" --{option}={both}',),
    )


def oom_score(value: int, actor: Actor, phase: Phase) -> Operation:
    """How soon the kernel's out-of-memory killer takes this process.

    A process in a user namespace may not lower it, nor reach the file once it is undumpable: so it
    is the parent that writes it, or the process before the child, from whom it is inherited.
    """
    path = "/proc/{pid}/oom_score_adj" if actor is Actor.PARENT else "/proc/self/oom_score_adj"
    calls = write_file(
        path, str(value), template=actor is Actor.PARENT,
        otherwise="lowering it below that of the runtime needs CAP_SYS_RESOURCE",
    )  # fmt: skip
    return Operation(
        actor=actor,
        phase=phase,
        title=f"set the out-of-memory score adjustment to {value}",
        why="From -1000 (never killed) to 1000 (killed first); lowering it needs CAP_SYS_RESOURCE.",
        source="process.oomScoreAdj",
        spec="config.md#linux-process",
        man="proc_pid_oom_score_adj(5)",
        calls=tuple(calls),
        shell=(f'echo {value} > "{path.replace("{", "$").replace("}", "")}"',),
    )


def mask(value: int) -> Operation:
    """The file mode creation mask."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"set the umask to {value:04o}",
        why="Up to here it was 0, so that devices and directories got the modes the spec names.",
        source="process.user.umask",
        spec="config.md#user",
        man="umask(2)",
        calls=(Call("umask", (permissions(value),)),),
        shell=(f"umask {value:04o}",),
    )


def mask_for_setup() -> Operation:
    """No umask while the root filesystem is furnished."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="clear the umask",
        why="Modes in the spec are meant literally.",
        man="umask(2)",
        calls=(Call("umask", (permissions(0),)),),
    )


BOUNDING = "process.capabilities.bounding"


def bounding_set(capabilities: Capabilities, last: int) -> Operation:
    """Drop from the bounding set what the spec does not list."""
    keep = {capability_number(name) for name in capabilities.bounding or ()}
    drop = [number for number in range(last + 1) if number not in keep]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"drop {len(drop)} of {last + 1} capabilities from the bounding set",
        why="What is not in the bounding set can never be gained again, not even by a set-uid program.",
        source=BOUNDING,
        spec="config.md#linux-process",
        man="capabilities(7)",
        calls=tuple(
            Call("prctl", (Flags(c.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"), number, 0, 0, 0))
            for number in drop
        ),
        shell=(f"setpriv --bounding-set={_set_words(capabilities.bounding)}",),
    )


def _set_words(names: tuple[str, ...] | None) -> str:
    """A capability set in setpriv(1)'s words."""
    return ",".join(("-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in names or ())))


def become(user: User, *, keep_capabilities: bool, may_set_groups: bool) -> Operation:
    """Groups, group and user, in this order: after setuid the others would be refused."""
    groups = user.additional_gids or ()
    data = Data(struct.pack(f"={len(groups)}I", *groups), str(list(groups)))
    # the first gid is the process's anyway
    tolerate = () if set(groups) - {user.gid} or may_set_groups else (errno.EPERM,)
    calls = []
    if keep_capabilities:
        calls.append(Call("prctl", (Flags(c.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"), 1, 0, 0, 0)))
    calls += [
        Call("setgroups", (len(groups), data if groups else 0), tolerate=tolerate),
        Call("setresgid", (user.gid, user.gid, user.gid),
             otherwise=f"cannot setgid to unmapped gid {user.gid} in user namespace"),
        Call("setresuid", (user.uid, user.uid, user.uid),
             otherwise=f"cannot setuid to unmapped uid {user.uid} in user namespace"),
    ]  # fmt: skip
    if keep_capabilities:
        calls.append(Call("prctl", (Flags(c.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"), 0, 0, 0, 0)))
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"become uid {user.uid}, gid {user.gid}, groups {list(groups)}",
        why="Groups first, user last: after that the process may no longer change them.",
        source="process.user",
        spec="config.md#user",
        man="setresuid(2), setgroups(2)",
        calls=tuple(calls),
        shell=(f"setpriv --reuid={user.uid} --regid={user.gid} {_group_words(groups, tolerate)}",),
    )


def _group_words(groups: tuple[int, ...], tolerate: tuple[int, ...]) -> str:
    if tolerate:
        return "--keep-groups"
    return f"--groups={','.join(str(one) for one in groups)}" if groups else "--clear-groups"


def capability_sets(capabilities: Capabilities) -> Operation:
    """The effective, permitted, inheritable and ambient sets."""

    def bits(names: tuple[str, ...] | None) -> int:
        return sum(1 << capability_number(name) for name in names or ())

    effective, permitted, inheritable = (
        bits(capabilities.effective), bits(capabilities.permitted), bits(capabilities.inheritable),
    )  # fmt: skip
    header = Data(struct.pack("=II", c.LINUX_CAPABILITY_VERSION_3, 0), "{v3, self}")
    words = [
        (value >> shift) & 0xFFFFFFFF
        for shift in (0, 32)
        for value in (effective, permitted, inheritable)
    ]
    shown = f"{{e={effective:#x}, p={permitted:#x}, i={inheritable:#x}}}"
    ambient = sorted(capability_number(name) for name in capabilities.ambient or ())
    clear = (Flags(c.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"),
             Flags(c.PR_CAP_AMBIENT_CLEAR_ALL, "PR_CAP_AMBIENT_CLEAR_ALL"), 0, 0, 0)  # fmt: skip
    names = ", ".join(capabilities.effective or ()) or "none"
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"keep these capabilities: {names}",
        why="The powers of root, taken apart: the process keeps only those the spec lists.",
        source="process.capabilities",
        spec="config.md#linux-process",
        man="capset(2), capabilities(7)",
        calls=(
            Call("capset", (header, Data(struct.pack("=6I", *words), shown))),
            Call("prctl", clear),
            *(
                Call(
                    "prctl",
                    (Flags(c.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"),
                     Flags(c.PR_CAP_AMBIENT_RAISE, "PR_CAP_AMBIENT_RAISE"), number, 0, 0),
                )
                for number in ambient
            ),
        ),
        # permitted and effective follow from these and the bounding set, at the next execve
        shell=(
            f"setpriv --inh-caps={_set_words(capabilities.inheritable)} "
            f"--ambient-caps={_set_words(capabilities.ambient)}",
        ),
    )  # fmt: skip


def no_new_privileges() -> Operation:
    """execve can no longer give more than the process has."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title="set no_new_privs",
        why="From here on no set-uid program and no file capability gives more than there is now.",
        source="process.noNewPrivileges",
        spec="config.md#linux-process",
        man="prctl(2), PR_SET_NO_NEW_PRIVS",
        calls=(Call("prctl", (Flags(c.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"), 1, 0, 0, 0)),),
        shell=("setpriv --no-new-privs",),
    )


def seccomp(bpf: bytes, filter_flags: int, summary: str) -> Operation:
    """Load the compiled filter of system calls."""
    instructions = Data(bpf, f"{{{len(bpf) // 8} instructions}}")
    program = Data(
        struct.pack("=HxxxxxxQ", len(bpf) // 8, 0),
        f"{{len={len(bpf) // 8}}}",
        pointers=((8, instructions),),
    )
    mode = Flags(c.SECCOMP_SET_MODE_FILTER, "SECCOMP_SET_MODE_FILTER")
    shown = "|".join(name for bit, name in _FILTER_FLAGS if filter_flags & bit) or "0"
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"load the seccomp filter ({summary})",
        why="The kernel runs it on every system call of the container, before anything else.",
        source="linux.seccomp",
        spec="config-linux.md#seccomp",
        man="seccomp(2)",
        calls=(Call("seccomp", (mode, Flags(filter_flags, shown), program), result=_NOTIFIES),),
    )


_FILTER_FLAGS = (
    (1, "SECCOMP_FILTER_FLAG_TSYNC"), (2, "SECCOMP_FILTER_FLAG_LOG"),
    (4, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"), (8, "SECCOMP_FILTER_FLAG_NEW_LISTENER"),
    (16, "SECCOMP_FILTER_FLAG_TSYNC_ESRCH"), (32, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
)  # fmt: skip

_NOTIFIES = Cell("listener")
"""What seccomp(2) returns for a filter that notifies: a descriptor, closed by execve."""


def hand_listener(path: str, state: str) -> Operation:
    """Give the filter's listener to the agent, who answers for the system calls it is asked about.

    `state` is the ContainerProcessState that goes with it, as JSON. The message is sent at once:
    the next call may be one that waits for the agent's answer.
    """
    control = Data(struct.pack("=QiiI4x", 20, 1, 1, 0), "{SCM_RIGHTS, <listener>}",
                   cells=((16, 4, _NOTIFIES),))  # fmt: skip
    vector = Data(struct.pack("=QQ", 0, 0), cells=((8, 8, LENGTH),), pointers=((0, Text(state)),))
    message = Data(
        struct.pack("=QIxxxxQQQQI4x", 0, 0, 0, 1, 0, 24, 0),
        "{ContainerProcessState, SCM_RIGHTS [<listener>]}",
        pointers=((16, vector), (32, control)),
    )
    no_signal = Flags(0x4000, "MSG_NOSIGNAL")
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"hand the filter's listener to the agent at {path}",
        why="The kernel asks the agent, whoever holds this descriptor, and waits for the answer.",
        source="linux.seccomp.listenerPath",
        spec="config-linux.md#containerprocessstate",
        man="seccomp_unotify(2), unix(7)",
        calls=(Call("sendmsg", (AGENT, message, no_signal),
                    otherwise="is the agent still there?"),),
    )  # fmt: skip


def make_working_directory(path: str) -> Operation:
    """The working directory, and those on its way, if the image does not have them."""
    there = Cell("directory")
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"make the working directory {path}, if it is not there",
        why="The program shall start in it; engines let images name one that is not made yet.",
        source="process.cwd",
        spec="config.md#process",
        man="mkdirat(2), openat2(2)",
        calls=(*reach_directory(ROOT, path, there), close(there)),
        shell=(f"[ -d {inside(path)} ] || mkdir -p {inside(path)}",),
    )


_CWD = Cell("cwd")
"""The working directory, as long as it is open; -1 before. It is closed by execve."""


def _change(path: str, tolerate: tuple[int, ...] = ()) -> tuple[Call, ...]:
    how = flags("open", c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC)
    name, outside = Scratch("working directory", 4096), f"{path} leads out of the container"
    check = (
        # the kernel says "(unreachable)/…" of what does not lie below the root
        Call("getcwd", (name, name.size), otherwise=outside),
        clear_bits(name, 0, -256),
        equal(name, 0, ord("/"), outside),
    )
    return (
        Call("openat", (CWD, Text(path), how), result=_CWD, tolerate=tolerate,
             skip_on_error=1 + len(check)),
        Call("fchdir", (_CWD,), tolerate=tolerate, skip_on_error=len(check)),
        *check,
    )  # fmt: skip


def working_directory(path: str) -> Operation:
    """Change to the working directory, by a path that can only lead inside."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"change to {path}",
        why="All descriptors of the host are closed by now, so no /proc/self/fd path leads back to it.",
        source="process.cwd",
        spec="config.md#process",
        man="fchdir(2)",
        calls=_change(path, (errno.EACCES, errno.EPERM)),
        shell=(f"env --chdir={quote(path)}",),
    )


def working_directory_again(path: str) -> Operation:
    """Some directories only root may enter, others (of FUSE, of NFS) only their owner."""
    again = _change(path)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"change to {path}, unless that is done",
        why="Its owner may enter a directory that even root may not, on FUSE or NFS.",
        source="process.cwd",
        spec="config.md#process",
        man="fchdir(2)",
        calls=(
            Call("fcntl", (_CWD, Flags(c.F_GETFD, "F_GETFD"), 0), tolerate=(errno.EBADF,),
                 skip_on_success=len(again)),
            *again,
            close(_CWD),
        ),
    )  # fmt: skip
