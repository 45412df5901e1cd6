"""Operations that enter existing namespaces, in the process before the child.

All of them are opened before any is entered: from inside a namespace a path may lead elsewhere,
or nowhere. The order works whatever the spec's is: where the host's powers suffice, the user
namespace is entered last, because inside of it they are gone; what they do not suffice for belongs
to that user namespace, and is entered after it. The kernel says which is which, by EPERM.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping

from mobyshell.core.linux import constants as c
from mobyshell.core.oci import Namespace
from mobyshell.core.oci.linux import TimeOffset
from mobyshell.core.runtime.operations.calls import (
    CWD,
    DIRECTORY,
    ROOT,
    close,
    flags,
    quote,
    write_file,
)
from mobyshell.core.runtime.operations.namespaces import CLONE_FLAG, GIVES
from mobyshell.core.runtime.plan import INIT, Actor, Call, Cell, Flags, Operation, Phase, Text


def join(given: list[tuple[int, Namespace]]) -> list[Operation]:
    """The operations that enter the namespaces of `given` (with their places in the spec)."""
    if not given:
        return []
    user = [one for one in given if one[1].type == "user"]
    others = [one for one in given if one[1].type != "user"]
    operations = [undumpable(), *(_open(*one) for one in given)]
    operations += [_enter(*one, first=bool(user)) for one in others]
    operations += [_enter(*one) for one in user]
    if user:
        operations += [_enter_late(*one) for one in others]
    return operations


def undumpable() -> Operation:
    """Whoever is in a joined namespace may see this process there, and must not look into it."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.JOIN,
        title="become undumpable",
        why="Processes of the namespaces it is about to join must not reach into the runtime's.",
        man="prctl(2), PR_SET_DUMPABLE",
        calls=(Call("prctl", (Flags(c.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), 0, 0, 0, 0)),),
    )


def _held(namespace: Namespace) -> Cell:
    return Cell(f"{namespace.type}-namespace")


def _open(index: int, namespace: Namespace) -> Operation:
    """Open a namespace's file, and make sure that it is one of the kind that is meant."""
    path, kind = namespace.path or "", namespace.type
    wrong = f"{path} is not the file of a {kind} namespace"
    # a FIFO in its place must not hold us up
    how = flags("open", c.O_NONBLOCK | c.O_CLOEXEC)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.JOIN,
        title=f"open the {kind} namespace {path}",
        why="All are opened before any is entered: from inside, a path may lead elsewhere.",
        source=f"linux.namespaces[{index}]",
        spec="config-linux.md#namespaces",
        man="ioctl_ns(2)",
        calls=(
            Call("openat", (CWD, Text(path), how), result=_held(namespace)),
            Call("ioctl", (_held(namespace), Flags(c.NS_GET_NSTYPE, "NS_GET_NSTYPE")),
                 expect=CLONE_FLAG[kind], otherwise=wrong),
        ),
        shell=(f"nsenter --{_OPTION.get(kind, kind)}={quote(path)}",),
    )  # fmt: skip


_OPTION = {"network": "net"}


def _setns(namespace: Namespace, tolerate: tuple[int, ...] = ()) -> tuple[Call, ...]:
    """Enter, and let go of the descriptor; what is tolerated keeps it."""
    held = _held(namespace)
    flag = flags("clone", CLONE_FLAG[namespace.type])
    return (Call("setns", (held, flag), tolerate=tolerate, skip_on_error=1), close(held))


def _enter(index: int, namespace: Namespace, *, first: bool = False) -> Operation:
    """Enter a namespace. `first`: a user namespace follows, which may be needed for it."""
    later = " If only its own user namespace may, after that." if first else ""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.JOIN,
        title=f"join the {namespace.type} namespace {namespace.path}",
        why=f"The spec shares it instead of giving the container {GIVES[namespace.type]}.{later}",
        source=f"linux.namespaces[{index}]",
        spec="config-linux.md#namespaces",
        man="setns(2)",
        calls=_setns(namespace, (errno.EPERM,) if first else ()),
    )


def _enter_late(index: int, namespace: Namespace) -> Operation:
    """What could not be entered before the user namespace; the others are closed by now (EBADF)."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.JOIN,
        title=f"join the {namespace.type} namespace {namespace.path}, unless that is done",
        why="With the powers of the joined user namespace, if the host's did not suffice.",
        source=f"linux.namespaces[{index}]",
        spec="config-linux.md#namespaces",
        man="setns(2)",
        calls=_setns(namespace, (errno.EBADF,)),
    )


def offset_clocks(offsets: Mapping[str, TimeOffset], early: Collection[str]) -> Operation:
    """Make the namespaces `early` here, and set the clocks of the one that is of time."""
    flag = 0
    for kind in early:
        flag |= CLONE_FLAG[kind]
    given = {clock: (one.secs or 0, one.nanosecs or 0) for clock, one in offsets.items()}
    lines = [f"{clock} {secs} {nanosecs}" for clock, (secs, nanosecs) in given.items()]
    words = " ".join(f"--{clock} {secs}" for clock, (secs, _) in given.items())
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.JOIN,
        title=f"set clocks ahead: {', '.join(lines)} (seconds, nanoseconds)",
        why="Only before the first process is in the time namespace: that will be the child.",
        source="linux.timeOffsets",
        spec="config-linux.md#offset-for-time-namespace",
        man="time_namespaces(7)",
        calls=(
            Call("unshare", (flags("clone", flag),)),
            *write_file("/proc/self/timens_offsets", "".join(f"{line}\n" for line in lines),
                        otherwise="an offset must not set a clock before 0"),
        ),
        # in whole seconds: unshare(1) takes no others
        shell=(f"unshare {words}",),
    )  # fmt: skip


def hold_root() -> Operation:
    """Open the root of a container that shares its mount namespace: entering that does not lead there."""
    how = flags("open", DIRECTORY)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.JOIN,
        title="open the container's root",
        why="Its mount namespace is shared, so its root is its process's, and no namespace's.",
        source="linux.namespaces",
        man="proc_pid_root(5)",
        calls=(Call("openat", (CWD, Text(f"/proc/{INIT}/root"), how), result=ROOT),),
    )


def chroot(phase: Phase = Phase.PIVOT) -> Operation:
    """The root in a shared mount namespace: pivot_root(2) there would move those who are in it."""
    return Operation(
        actor=Actor.CHILD,
        phase=phase,
        title="make the rootfs the root of this process alone",
        why="The mount namespace is shared: others in it keep their root, so it cannot be exchanged.",
        source="root.path",
        spec="config.md#root",
        man="chroot(2)",
        calls=(
            Call("fchdir", (ROOT,)),
            close(ROOT),
            Call("chroot", (Text("."),)),
            Call("chdir", (Text("/"),)),
        ),
        shell=("# chroot is what runs the program below",),
    )
