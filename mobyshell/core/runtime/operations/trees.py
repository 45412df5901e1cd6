"""Operations by which the runtime opens trees of the host, before the child exists, to hand them on.

In a user namespace the child is somebody else on the host: a bundle below a directory of mode 0700
is out of its reach. And a mount is id-mapped only by whoever has privileges over its filesystem.
So the runtime makes such clones (open_tree(2)) with its own privileges, and the child, which gets
their descriptors, only attaches them (move_mount(2)).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from mobyshell.core.linux import constants as c
from mobyshell.core.linux import devices as nodes
from mobyshell.core.linux.mount_options import propagation_flags
from mobyshell.core.oci import IDMapping
from mobyshell.core.runtime.operations.calls import (
    CWD,
    DIRECTORY,
    EMPTY,
    FIRST_FREE,
    clone_tree,
    close,
    flags,
    new_filesystem,
    permissions,
    set_attributes,
)  # fmt: skip
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Flags, Operation, Phase, Text
from mobyshell.core.values import value

START = Cell("start")
"""The rootfs in the host's own mount namespace: the runtime clones the child while it is its
working directory, which the new mount namespace translates to its own copy of that place."""

MAKE_USER_NAMESPACE = "@user_namespace"
"""Pseudo call of the runtime: (uid_map, gid_map) → a descriptor of a new user namespace with these
maps (user_namespaces(7)), in which no process is left."""


@value
class Ids:
    """How a mount's ids are mapped: maps in the kernel's form, or a user namespace that has them."""

    uids: str = ""
    gids: str = ""
    namespace: str = ""
    recursive: bool = False

    def as_word(self) -> bytes:
        """What a child says to have a mount's ids mapped so: see `furnish`."""
        kind = b"r" if self.recursive else b"-"
        return b"\0".join((kind, *(one.encode() for one in (self.uids, self.gids, self.namespace))))

    @classmethod
    def of_word(cls, word: bytes) -> Ids:
        """The reverse of `as_word`. ValueError if it is none."""
        kind, uids, gids, namespace = word.split(b"\0")
        return cls(uids.decode(), gids.decode(), namespace.decode(), kind == b"r")


@value
class Node:
    """A device that is made for the container: its file type, mode and numbers (inode(7)), and its
    owner as the host numbers them."""

    kind: int
    mode: int
    major: int
    minor: int
    owner: tuple[int, int]


@value
class Tree:
    """A clone that is handed on. `number` counts them: the child finds it at FIRST_FREE + number.
    With `node` it is not of the host's `path` but that device alone."""

    number: int
    path: str
    recursive: bool
    source: str
    ids: Ids | None = None
    node: Node | None = None

    @property
    def cell(self) -> Cell:
        """Where the runtime's program keeps it."""
        return Cell(f"tree {self.number}")

    @property
    def descriptor(self) -> Flags:
        """What the child has it by."""
        return Flags(FIRST_FREE + self.number, f"<tree of {self.path}>")


def ids_text(mappings: Sequence[IDMapping]) -> str:
    """The text of /proc/PID/uid_map for `mappings`."""
    return "".join(f"{one.container_id} {one.host_id} {one.size}\n" for one in mappings)


def open_start(rootfs: str) -> Operation:
    """Open the place that the root filesystem's clone will lie on."""
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"open {rootfs}, for the child to start in",
        why="As root of its own user namespace the child might not reach it by its path.",
        spec="config.md#root",
        man="mount_namespaces(7)",
        calls=(Call("openat", (CWD, Text(rootfs), flags("open", DIRECTORY)), result=START),),
    )


def open_tree(tree: Tree, propagation: str | None) -> Operation:
    """Clone what is mounted at the tree's path; with its ids mapped, if it has a map."""
    calls = [
        clone_tree(tree.path, tree.cell, recursive=tree.recursive),
        *(set_attributes(tree.cell, 0, 0, value, recursive=True) for value in _spread(propagation)),
        *(_map_ids(tree.cell, tree.ids, tree.number) if tree.ids else ()),
    ]
    why = "Opened with the runtime's privileges: the child, who is not root out here, has none."
    man = "open_tree(2), mount_setattr(2)"
    title = f"open {tree.path} for the child"
    if tree.ids is not None:
        title = f"open {tree.path} for the child, its ids mapped"
        why = (
            "Files in it appear as of the mapped ids. Only who has privileges over it may do that."
        )
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=title,
        why=why,
        # what a shell cannot do is named there; opening a path early is not worth a word
        source=f"{tree.source}.uidMappings" if tree.ids else "",
        spec="config.md#posix-platform-mounts" if tree.ids else "config.md#root",
        man=man,
        calls=tuple(calls),
        hints=ID_HINTS if tree.ids else (),
    )


ID_HINTS = (
    (errno.EINVAL, "the file system may have no id-mapped mounts, or this is one already"),
    (errno.EPERM, "mapping ids takes privileges over the file system: run as root"),
)


def make_node(tree: Tree, node: Node) -> Operation:
    """Make the tree's device, in a filesystem that nobody else sees, and clone it alone."""
    apart, name = Cell("devices"), Text("node")
    said = f"{node.mode:04o}"
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"make device {tree.path} for the child, mode {said}, "
        f"owner {node.owner[0]}:{node.owner[1]}",
        why="mknod needs real privilege, which the child has not in its user namespace; and the "
        "host may have no such device, or with another owner and mode.",
        source=tree.source,
        spec="config-linux.md#devices",
        man="fsmount(2), mknodat(2), open_tree(2)",
        calls=(
            *new_filesystem("tmpfs", "devices", (), c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NOEXEC, apart),
            Call(
                "mknodat",
                (apart, name, Flags(node.kind | node.mode, f"device, {said}"),
                 Flags(nodes.number(node.major, node.minor), f"makedev({node.major}, {node.minor})")),
            ),
            # not what the umask of the runtime leaves of it
            Call("fchmodat", (apart, name, permissions(node.mode))),
            Call("fchownat", (apart, name, *node.owner, flags("at", c.AT_SYMLINK_NOFOLLOW))),
            Call(
                "open_tree",
                (apart, name, flags("open_tree", c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC)),
                result=tree.cell,
            ),
            close(apart),
        ),
    )  # fmt: skip


def _spread(propagation: str | None) -> tuple[int, ...]:
    """What the clone, which still is the host's peer, must become: as if the child had made it
    among its own mounts, which are slaves, or what rootfsPropagation says of all of them."""
    value = propagation_flags(propagation) if propagation else c.MS_SLAVE
    kind = value & ~c.MS_REC
    if not value & c.MS_REC or kind in (c.MS_SLAVE, c.MS_UNBINDABLE):
        return (c.MS_SLAVE,)
    return (c.MS_PRIVATE,) if kind == c.MS_PRIVATE else (c.MS_SLAVE, kind)


def _map_ids(mount: Cell, ids: Ids, number: int) -> list[Call]:
    namespace = Cell(f"ids {number}")
    if ids.namespace:
        get = Call(
            "openat", (CWD, Text(ids.namespace), flags("open", c.O_CLOEXEC)), result=namespace
        )
    else:
        get = Call(MAKE_USER_NAMESPACE, (Text(ids.uids), Text(ids.gids)), result=namespace)
    return [
        get,
        map_ids(mount, namespace, recursive=ids.recursive),
        *([close(namespace)] if ids.namespace else []),
    ]


def map_ids(mount: Cell, namespace: Cell, *, recursive: bool) -> Call:
    """Map the ids of a mount that is attached nowhere yet, as a user namespace has them."""
    # struct mount_attr, its last word the user namespace's descriptor
    attributes = Data(
        struct.pack("=QQQQ", c.MOUNT_ATTR_IDMAP, 0, 0, 0), "{+MOUNT_ATTR_IDMAP, <ids>}",
        cells=((24, 8, namespace),),
    )  # fmt: skip
    at = c.AT_EMPTY_PATH | (c.AT_RECURSIVE if recursive else 0)
    return Call("mount_setattr", (mount, EMPTY, flags("at", at), attributes, 32))
