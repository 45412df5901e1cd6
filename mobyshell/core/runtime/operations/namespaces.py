"""Operations that make, join and furnish namespaces."""

from __future__ import annotations

import errno
import struct

from mobyshell.core.linux import constants as c
from mobyshell.core.oci import IDMapping, Namespace
from mobyshell.core.runtime.operations.calls import SYNC, close, flags, quote, write_file
from mobyshell.core.runtime.operations.verify import write_proc
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Flags, Operation, Phase, Text

CLONE_FLAG = {
    "user": c.CLONE_NEWUSER, "mount": c.CLONE_NEWNS, "pid": c.CLONE_NEWPID,
    "network": c.CLONE_NEWNET, "ipc": c.CLONE_NEWIPC, "uts": c.CLONE_NEWUTS,
    "cgroup": c.CLONE_NEWCGROUP, "time": c.CLONE_NEWTIME,
}  # fmt: skip

GIVES = {
    "user": "its own users: root inside is somebody else outside",
    "mount": "its own mount table: what it mounts, nobody else sees",
    "pid": "its own process numbers: its first process is 1 and sees no others",
    "network": "its own network interfaces, routes and ports",
    "ipc": "its own System V and POSIX message queues and shared memory",
    "uts": "its own host name",
    "cgroup": "its own view of the cgroup tree, with its cgroup as the root",
    "time": "its own boot and monotonic clocks",
}
"""What a new namespace of each kind means to the container."""

# with a user namespace the child would lose its capabilities at its next execve: it has no id yet
_UNSHARE = {"user": "--user --keep-caps", "mount": "--mount --propagation unchanged",
            "pid": "--pid", "network": "--net", "ipc": "--ipc", "uts": "--uts",
            "cgroup": "--cgroup", "time": "--time"}  # fmt: skip


def clone(new: list[tuple[int, Namespace]], clone_flags: int) -> Operation:
    """The child, in the namespaces of `clone_flags` (the executor makes the call itself)."""
    kinds = [namespace.type for _, namespace in new]
    gives = "; ".join(f"{kind}: {GIVES[kind]}" for kind in kinds)
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.CLONE,
        title=f"make the child in new namespaces: {', '.join(kinds) or 'none'}",
        why=f"The child gets {gives}." if kinds else "The spec asks for no new namespace.",
        source="linux.namespaces",
        spec="config-linux.md#namespaces",
        man="clone3(2), namespaces(7)",
        calls=(
            Call(
                "@clone3",
                (flags("clone", clone_flags | c.CLONE_PIDFD), Flags(17, "SIGCHLD")),
                result=Cell("pid"),
            ),
        ),
        shell=(" ".join(("unshare --fork --kill-child", *(_UNSHARE[kind] for kind in kinds))),),
    )


def enter(kinds: tuple[str, ...]) -> Operation:
    """Enter the namespaces of a running container, all at once, by the pidfd of its init."""
    flag = 0
    for kind in kinds:
        flag |= CLONE_FLAG[kind]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.JOIN,
        title=f"enter the container's namespaces: {', '.join(kinds)}",
        why="By a descriptor of its process, not by its number: that cannot have been reused.",
        source="linux.namespaces",
        spec="runtime.md#operations",
        man="setns(2)",
        calls=(Call("setns", (Cell("init"), flags("clone", flag))),),
    )


def unshare_cgroup(index: int) -> Operation:
    """The cgroup namespace comes last: its root is the cgroup the process is in at that moment."""
    return _unshare(
        index,
        "cgroup",
        "make the cgroup namespace",
        "Made only now, when the process is in its cgroups, because they become its root.",
        "cgroup_namespaces(7)",
    )


def unshare_ipc(index: int) -> Operation:
    """In a user namespace: whoever makes an IPC namespace owns the root of its message queues, and
    before there are maps that is nobody inside (ipc/mqueue.c, mqueue_get_inode)."""
    return _unshare(
        index,
        "ipc",
        "make the IPC namespace",
        "Made only now, by root of the user namespace, who owns its message queues then.",
        "ipc_namespaces(7)",
    )


def _unshare(index: int, kind: str, title: str, why: str, man: str) -> Operation:
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=title,
        why=why,
        source=f"linux.namespaces[{index}]",
        spec="config-linux.md#namespaces",
        man=man,
        calls=(Call("unshare", (flags("clone", CLONE_FLAG[kind]),)),),
        shell=(f"unshare {_UNSHARE[kind]}",),
    )


def id_maps(
    kind: str, mappings: tuple[IDMapping, ...], *, deny_setgroups: bool, helper: str | None
) -> Operation:
    """Write the child's uid or gid map; through newuidmap(1) or newgidmap(1) if `helper` says so."""
    lines = [f"{one.container_id} {one.host_id} {one.size}" for one in mappings]
    calls: list[Call] = []
    shell: list[str] = []
    if helper is not None:
        words = " ".join(lines).split()
        shell.append(f'{quote(helper)} "$pid" {" ".join(words)}')
        calls.append(Call("@spawn", (Text(helper), Text("{pid}", template=True),
                                     *(Text(word) for word in words))))  # fmt: skip
    else:
        if deny_setgroups:
            calls += write_file("/proc/{pid}/setgroups", "deny", template=True)
            shell.append('echo deny > "/proc/$pid/setgroups"')
        shell.append(
            f"printf '{''.join(f'{line}{chr(92)}n' for line in lines)}' > \"/proc/$pid/{kind}_map\""
        )
        calls += write_file(f"/proc/{{pid}}/{kind}_map", "\n".join(lines) + "\n", template=True)
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.ATTACH,
        title=f"map {kind}s: {', '.join(lines)} (inside, outside, count)",
        why="Until its map is written, every id in a new user namespace is the overflow id.",
        source=f"linux.{kind}Mappings",
        spec="config-linux.md#user-namespace-mappings",
        man="newuidmap(1)" if helper else "user_namespaces(7)",
        calls=tuple(calls),
        shell=tuple(shell),
    )


def become_root_inside() -> Operation:
    """In a user namespace the process takes the mapped identity before it mounts anything."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="become root of the user namespace",
        why="What it makes from here on shall belong to the ids of the map.",
        spec="config-linux.md#user-namespace-mappings",
        man="setresuid(2)",
        calls=(
            Call("setresgid", (0, 0, 0)),
            Call("setgroups", (0, 0), tolerate=(errno.EPERM,)),
            Call("setresuid", (0, 0, 0)),
        ),
        shell=(
            "setpriv --reuid=0 --regid=0 "
            '"--$(if grep -q deny /proc/self/setgroups; then echo keep; else echo clear; fi)-groups" '
            "--inh-caps=-all --ambient-caps=-all",
        ),
    )


def new_session(identifier: str, *, keyring: bool = True, inherited: bool = False) -> Operation:
    """Leave the caller's session and (`keyring`) its keyring; that was left before (`inherited`, by
    `new_keyring`) unless somebody has revoked the one that was joined then."""
    calls = [Call("setsid")]
    if keyring and inherited:
        calls.append(
            Call(
                "keyctl",
                (Flags(0, "KEYCTL_GET_KEYRING_ID"), Flags(-3, "KEY_SPEC_SESSION_KEYRING"), 0),
                tolerate=(*_NO_KEYRING, errno.ENOKEY, errno.EKEYREVOKED, errno.EKEYEXPIRED),
                skip_on_success=1,
            )
        )
    if keyring:
        calls.append(_join_keyring(identifier))
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="start a new session and keyring" if keyring else "start a new session",
        why="Signals and keys of whoever called the runtime must not reach the container.",
        spec="config.md#process",
        man="setsid(2), keyctl(2)",
        calls=tuple(calls),
    )


def new_keyring(identifier: str) -> Operation:
    """Leave the caller's session keyring, whoever is made by us as well: to make one takes the kernel
    as long as three cgroups."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.JOIN,
        title="join a session keyring of the container's",
        why="Keys of whoever called the runtime must not reach the container.",
        spec="config.md#process",
        man="keyctl(2), session-keyring(7)",
        calls=(_join_keyring(identifier),),
    )


_NO_KEYRING = (errno.ENOSYS, errno.EPERM, errno.EDQUOT, errno.EACCES)


def _join_keyring(identifier: str) -> Call:
    return Call(
        "keyctl",
        (Flags(1, "KEYCTL_JOIN_SESSION_KEYRING"), Text(f"_ses.{identifier}")),
        tolerate=_NO_KEYRING,
    )


def host_name(name: str) -> Operation:
    """sethostname in the new UTS namespace."""
    return _name("host", name, "The UTS namespace has its own; the host keeps its name.")


def domain_name(name: str) -> Operation:
    """setdomainname in the new UTS namespace."""
    return _name("domain", name, "The UTS namespace has its own NIS domain name.")


def _name(which: str, name: str, why: str) -> Operation:
    member = f"{which}name"  # of the spec, as the system calls and the programs are called
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"set the {which} name to {name}",
        why=why,
        source=member,
        spec=f"config.md#{member}",
        man=f"set{member}(2)",
        calls=(Call(f"set{member}", (Text(name), len(name.encode()))),),
        shell=(f"{member} {quote(name)}",),
    )


_AF_INET = 2


def loopback() -> Operation:
    """A new network namespace has one interface, and that is down."""
    socket = Cell("socket")
    request = b"lo".ljust(16, b"\0") + struct.pack("=H", 0x41).ljust(24, b"\0")
    address = struct.pack("=H", _AF_INET) + bytes((0, 9, 127, 0, 0, 1)) + bytes(8)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="bring the loopback interface up",
        why="A new network namespace has only `lo`, and it is down.",
        spec="config-linux.md#network",
        man="netdevice(7), ip(7)",
        calls=(
            Call("socket", (Flags(_AF_INET, "AF_INET"), Flags(0x80002, "SOCK_DGRAM|SOCK_CLOEXEC"), 0),
                 result=socket),
            # there is a way to its address if it is up, as in a namespace made ahead: to be told so takes
            # no lock, to bring it up that of all networks, which those that end hold for milliseconds
            Call("connect", (socket, Data(address, "{127.0.0.1:9}"), len(address)),
                 tolerate=(errno.ENETUNREACH,), skip_on_success=1),
            Call("ioctl", (socket, Flags(c.SIOCSIFFLAGS, "SIOCSIFFLAGS"),
                           Data(request, '{"lo", IFF_UP|IFF_RUNNING}'))),
            close(socket),
        ),
        shell=("ip link set lo up",),
    )  # fmt: skip


def net_device(name: str, new: str) -> Operation:
    """Move a device of the host into the container's network namespace."""
    known = "" if name == new else f" as {new}"
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.ATTACH,
        title=f"move the network device {name} into the container{known}",
        why="It keeps its settings and permanent addresses; the host has it back when the "
        "namespace ends, if it is a physical one.",
        source=f"linux.netDevices.{name}",
        spec="config-linux.md#network-devices",
        man="rtnetlink(7)",
        calls=(Call("@net_device", (Text(name), Text(new))),),
        shell=(f'ip link set dev {quote(name)} netns "$pid" name {quote(new)}',),
    )


def sysctls(values: dict[str, str]) -> list[Operation]:
    """Kernel parameters that belong to one of the new namespaces."""
    operations = []
    for key, value in values.items():
        path = "/proc/sys/" + key.replace(".", "/")
        operations.append(
            Operation(
                actor=Actor.CHILD,
                phase=Phase.SETUP,
                title=f"set {key} = {value}",
                why="Written from inside the new namespace, it changes only there.",
                source=f'linux.sysctl["{key}"]',
                spec="config-linux.md#sysctl",
                man="sysctl(2)",
                calls=tuple(write_proc(path, value)),
                shell=(f"printf %s {quote(value)} > {quote(path)}",),
            )
        )
    return operations


def gate(title: str, why: str, phase: Phase, tell: bytes = b"") -> Operation:
    """The child waits until the runtime lets it go on; `tell` is what it says first."""
    calls = []
    if tell:
        calls.append(Call("write", (SYNC, Data(tell, repr(tell.decode())), len(tell))))
    # one byte, or 0 when the runtime died: then this process must not go on alone
    calls.append(Call("read", (SYNC, Data(b"\0", "<gate>"), 1), expect=1))
    return Operation(
        actor=Actor.CHILD, phase=phase, title=title, why=why, man="read(2)", calls=tuple(calls)
    )
