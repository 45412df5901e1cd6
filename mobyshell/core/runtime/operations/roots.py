"""Operations around the root filesystem: what it hears of the host's mounts, how it becomes the root."""

from __future__ import annotations

import errno
import fcntl
import os.path
import struct

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.constants import show_flags
from mobyshell.core.linux.mount_options import propagation_flags
from mobyshell.core.runtime.operations.calls import (
    CWD,
    DIRECTORY,
    EMPTY,
    FIRST_FREE,
    ROOT,
    attach,
    clone_tree,
    close,
    flags,
    quote,
    set_attributes,
)  # fmt: skip
from mobyshell.core.runtime.operations.trees import Tree
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Flags, Operation, Phase, Text

TARGET = Cell("target")

_WORDS = {c.MS_SLAVE: "slave", c.MS_PRIVATE: "private"}


def isolate(propagation: str | None, rootfs: str, tree: Tree | None = None) -> Operation:
    """Stop mounts made here from reaching the host, or, where the spec wants them shared, at least
    those of the root filesystem."""
    name = propagation or "rslave"
    if name.endswith("unbindable"):
        # what cannot be bound cannot be cloned either: only the finished root becomes that
        name = name.replace("unbindable", "private")
    elif name.endswith("shared") and tree is not None:
        # in a user namespace all are slaves already, and the way to the rootfs may be closed
        name = "rslave"
    value = propagation_flags(name)
    calls = [Call("mount", (0, Text("/"), 0, flags("mount", value), 0))]
    shell = [f"mount --make-{name} /"]
    if tree is None and (value & c.MS_SHARED or not value & c.MS_REC):
        # whatever the rootfs lies on may still be shared, which pivot_root(2) refuses
        kind = c.MS_SLAVE if name == "slave" else c.MS_PRIVATE
        calls += _unshare(rootfs, kind)
        shell.append(
            f'mount --make-{_WORDS[kind]} "$(findmnt -n -o TARGET --target "$rootfs" | tail -n 1)"'
        )
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"make every mount {name}",
        why="The new mount namespace starts as a copy that still shares mount events with the host.",
        source="linux.rootfsPropagation" if propagation else "",
        spec="config-linux.md#rootfs-mount-propagation",
        man="mount_namespaces(7)",
        calls=tuple(calls),
        shell=tuple(shell),
    )


def _unshare(path: str, kind: int) -> list[Call]:
    """Make the mount that `path` lies on private, or a slave: pivot_root(2) wants it of the new
    root's parent.

    Which one it is only the kernel knows: of the directories on the way the deepest that is a
    mount point; the others are refused (EINVAL).
    """
    places = [path]
    while places[-1] != "/":
        places.append(os.path.dirname(places[-1]))
    attributes = Data(struct.pack("=QQQQ", 0, 0, kind, 0), "{" + show_flags("mount", kind) + "}")
    return [
        Call(
            "mount_setattr",
            (CWD, Text(place), 0, attributes, 32),
            tolerate=(errno.EINVAL,) if place != "/" else (),
            skip_on_success=len(places) - 1 - index,
        )
        for index, place in enumerate(places)
    ]


def root_filesystem(rootfs: str, propagation: str | None, tree: Tree | None = None) -> Operation:
    """Make the rootfs a mount of its own: pivot_root(2) wants one. `tree`: its clone, if the
    runtime made it; then this process has been in the rootfs from its start."""
    # before it is attached: pivot_root refuses a root that is shared
    kind, recursive = spread_of_root(propagation)
    spread = set_attributes(ROOT, 0, 0, kind, recursive=recursive)
    if tree is not None:
        how = c.MOVE_MOUNT_F_EMPTY_PATH | c.MOVE_MOUNT_T_EMPTY_PATH
        calls: tuple[Call, ...] = (
            _copy(tree.descriptor, ROOT),
            close(tree.descriptor),
            spread,
            Call("move_mount", (ROOT, EMPTY, CWD, EMPTY, flags("move_mount", how))),
        )
    else:
        calls = (
            clone_tree(rootfs, ROOT, recursive=True),
            Call("openat", (CWD, Text(rootfs), flags("open", DIRECTORY)), result=TARGET),
            spread,
            attach(ROOT, TARGET),
            close(TARGET),
        )
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"bind {rootfs} onto itself and open it",
        why="The new root must be a mount point; from here on it is known by its descriptor, not its path.",
        source="root.path",
        spec="config.md#root",
        man="open_tree(2), move_mount(2)",
        calls=calls,
        shell=(
            'mount --rbind "$rootfs" "$rootfs"',
            f'mount --make-{"r" if recursive else ""}{_WORDS[kind]} "$rootfs"',
        ),
    )


def spread_of_root(propagation: str | None) -> tuple[int, bool]:
    """(MS_SLAVE or MS_PRIVATE, the whole tree) for the clone of the rootfs, until it is the root.

    A slave hears of what the host mounts later. What is to be shared is private first, as with
    runc: then it is shared with those who copy this mount namespace, and not with the host.
    """
    name = propagation or "rslave"
    if name.endswith("slave"):
        return c.MS_SLAVE, True
    return c.MS_PRIVATE, name in ("rprivate", "runbindable")


def _copy(held: Flags, result: Cell) -> Call:
    """Another descriptor of what `held` is."""
    command = Flags(fcntl.F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC")
    return Call("fcntl", (held, command, FIRST_FREE), result=result)


def pivot(spare: Cell | None = None) -> Operation:
    """Exchange the root and let go of the old one, with a mount that lies nowhere and is of no use any
    more (`spare`): each that is taken away by itself has the kernel wait for all its readers."""
    away: list[Call] = []
    if spare is not None:
        how = flags("move_mount", c.MOVE_MOUNT_F_EMPTY_PATH)
        # it could be any directory of the old root's; what cannot be laid there goes when it is closed
        onto = (spare, EMPTY, CWD, Text("proc"), how)
        away = [Call("move_mount", onto, tolerate=(errno.ENOENT, errno.EINVAL)), close(spare)]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="make the rootfs the root, and detach the old one",
        why="After this no path leads back to the host: unlike with chroot, it is no longer mounted.",
        source="root.path",
        spec="config.md#root",
        man="pivot_root(2)",
        calls=(
            Call("openat", (CWD, Text("/"), flags("open", DIRECTORY)), result=Cell("old")),
            Call("fchdir", (ROOT,)),
            Call("close", (ROOT,)),
            # both arguments `.`: the old root is stacked on the new one, and comes off at once
            Call("pivot_root", (Text("."), Text("."))),
            # by its descriptor: `.` alone would be the new root, whose mounts keep what they share
            Call("fchdir", (Cell("old"),)),
            close(Cell("old")),
            Call("mount", (0, Text("."), 0, flags("mount", c.MS_SLAVE | c.MS_REC), 0)),
            *away,
            Call("umount2", (Text("."), flags("umount", c.MNT_DETACH))),
            Call("chdir", (Text("/"),)),
        ),
        shell=('pivot_root "$rootfs" "$rootfs"', "umount -l /"),
    )


def move_root(rootfs: str, bare: tuple[str, ...]) -> Operation:
    """What `pivot` does, on a root that cannot be pivoted: the initial ramdisk's.

    What was mounted before stays in the mount namespace, out of sight. Whole filesystems of the
    kernel, at `bare`, are taken out of it: as long as there is one, whoever makes a user namespace
    in the container may mount it anew, with nothing masked.
    """
    away = []
    # those below the rootfs are the container's own by now
    bare = tuple(one for one in bare if not f"{one}/".startswith(f"{rootfs}/"))
    for place in bare:
        hide = (Text("tmpfs"), Text(place), Text("tmpfs"), 0, 0)
        away += [
            # the inner ones go with the outer ones; of another user namespace they are only covered
            Call("umount2", (Text(place), flags("umount", c.MNT_DETACH)),
                 tolerate=(errno.EINVAL, errno.EPERM, errno.ENOENT), skip_on_success=1),
            Call("mount", hide, tolerate=(errno.ENOENT,)),
        ]  # fmt: skip
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="move the rootfs over /, and make it the root",
        why="A root on a ramdisk cannot be exchanged, only covered; the caller asked for this.",
        source="root.path",
        spec="config.md#root",
        man="mount(2), chroot(2)",
        calls=(
            *away,
            Call("fchdir", (ROOT,)),
            Call("close", (ROOT,)),
            Call("mount", (Text("."), Text("/"), 0, flags("mount", c.MS_MOVE), 0)),
            Call("chroot", (Text("."),)),
            Call("chdir", (Text("/"),)),
        ),
        shell=(
            *(f"umount -l {quote(one)}" for one in bare),
            'mount --move "$rootfs" /',
            "chroot .",
        ),
    )


def read_only_root() -> Operation:
    """The root mount, not what is mounted below it, becomes read-only."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="make the root read-only",
        why="The image cannot be changed from inside; the mounts below keep their own options.",
        source="root.readonly",
        spec="config.md#root",
        man="mount_setattr(2)",
        calls=(
            Call("openat", (CWD, Text("/"), flags("open", DIRECTORY)), result=ROOT),
            set_attributes(ROOT, c.MOUNT_ATTR_RDONLY),
            close(ROOT),
        ),
        shell=('mount -o remount,bind,ro "$rootfs"',),
    )


def root_propagation(name: str) -> Operation:
    """What the container's own mounts do to other namespaces, and theirs to it."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title=f"make the root {name}",
        why="The spec sets how mount events travel to and from the container's root.",
        source="linux.rootfsPropagation",
        spec="config-linux.md#rootfs-mount-propagation",
        man="mount_namespaces(7)",
        calls=(Call("mount", (0, Text("/"), 0, flags("mount", propagation_flags(name)), 0)),),
        shell=(f"mount --make-{name} /",),
    )
