"""Operations that build the container's file system tree, up to the new root."""

from __future__ import annotations

import errno
import fcntl
import os.path
import struct

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.constants import show_flags
from mobyshell.core.linux.mount_options import MountOptions, parse_options, propagation_flags
from mobyshell.core.oci import Mount
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
    in_root,
    inside,
    new_filesystem,
    quote,
    reach_directory,
    reach_mount_point,
    set_attributes,
)  # fmt: skip
from mobyshell.core.runtime.operations.trees import Tree
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Flags, Operation, Phase, Text

MOUNT = Cell("mount")
TARGET = Cell("target")

# a value of fsconfig(FSCONFIG_SET_STRING) is at most 255 bytes (fs/fsopen.c)
LONGEST_VALUE = 255

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)


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
    kind, recursive = _kind_of_root(propagation)
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


_WORDS = {c.MS_SLAVE: "slave", c.MS_PRIVATE: "private"}


def _kind_of_root(propagation: str | None) -> tuple[int, bool]:
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


def mount(index: int, entry: Mount, bundle: str, tree: Tree | None = None) -> Operation:
    """One entry of `mounts`, that is not of type cgroup. `tree`: what it binds, if the runtime
    has opened it."""
    options = parse_options(entry.options or ())
    source = f"mounts[{index}]"
    words = ",".join(entry.options or ())
    if options.bind:
        origin = os.path.join(bundle, entry.source or "")
        made: list[Call] = _bind(entry, options, origin, tree)
        title = f"bind {origin} on {entry.destination}"
        man = "open_tree(2), mount_setattr(2), move_mount(2)"
        shell = _shell_bind(entry, options, origin)
    else:
        kind = entry.type or "none"
        made = _filesystem(entry, options, kind)
        title = f"mount {kind} on {entry.destination}"
        man = "fsopen(2), fsconfig(2), fsmount(2), move_mount(2)"
        shell = (
            f"mkdir -p {inside(entry.destination)}",
            f"mount -t {quote(kind)} {'-o ' + quote(words) + ' ' if words else ''}"
            f"{quote(entry.source or kind)} {inside(entry.destination)}",
        )
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"{title} ({words})" if words else title,
        why=_PURPOSE.get(entry.destination, "The spec lists it among the mounts."),
        source=source,
        spec="config.md#mounts",
        man=man,
        calls=tuple(made),
        shell=shell,
    )


_PURPOSE = {
    "/proc": "Programs look up processes and kernel settings here; it shows this pid namespace.",
    "/dev": "A small private /dev, so that no device of the host is in reach by accident.",
    "/dev/pts": "Its own instance of pseudo terminals; those of the host stay out of reach.",
    "/dev/shm": "POSIX shared memory lives here (shm_overview(7)).",
    "/dev/mqueue": "POSIX message queues of this IPC namespace (mq_overview(7)).",
    "/sys": "Kernel objects, read-only: the network ones are those of this namespace.",
    "/sys/fs/cgroup": "The container's own limits and statistics.",
    "/tmp": "Scratch space that vanishes with the container.",
}


def _finish(
    options: MountOptions, target: list[Call], *, attributes: bool, mount: Cell | Flags = MOUNT
) -> list[Call]:
    """Place `mount` on the target with its attributes and propagation, and close both."""
    calls = [*target]
    if attributes and (options.attr_set or options.attr_clear):
        calls.append(set_attributes(mount, options.attr_set, options.attr_clear))
    if options.rec_set or options.rec_clear:
        calls.append(set_attributes(mount, options.rec_set, options.rec_clear, recursive=True))
    calls.append(attach(mount, TARGET))
    for value in options.propagation:
        recursive = bool(value & c.MS_REC)
        calls.append(set_attributes(mount, 0, 0, value & ~c.MS_REC, recursive=recursive))
    return [*calls, close(mount), close(TARGET)]


def _bind(entry: Mount, options: MountOptions, origin: str, tree: Tree | None) -> list[Call]:
    mount = tree.descriptor if tree else MOUNT
    target = reach_mount_point(ROOT, entry.destination, mount, TARGET)
    clone = [] if tree else [clone_tree(origin, MOUNT, recursive=options.recursive)]
    return [*clone, *_finish(options, target, attributes=True, mount=mount)]


def _filesystem(entry: Mount, options: MountOptions, kind: str) -> list[Call]:
    origin = entry.source or kind
    target = reach_directory(ROOT, entry.destination, TARGET)
    if all(len(one.encode()) <= LONGEST_VALUE for one in (origin, *options.data)):
        # as mount(2) does it: a new filesystem is read-only itself, not only this mount of it
        data = (*options.data, "ro") if options.read_only else options.data
        made = new_filesystem(kind, origin, data, options.attr_set, MOUNT)
        return [*made, *_finish(options, target, attributes=False)]
    # too long for fsconfig: the old call takes a page of options, on the working directory
    return [
        *target,
        Call("fchdir", (TARGET,)),
        close(TARGET),
        Call("mount", (Text(origin), Text("."), Text(kind), 0, Text(",".join(options.data)))),
        Call("openat", (CWD, Text("."), flags("open", DIRECTORY)), result=TARGET),
        Call("chdir", (Text("/"),)),
    ]


def _shell_bind(entry: Mount, options: MountOptions, origin: str) -> tuple[str, ...]:
    target = inside(entry.destination)
    make = (
        f"if [ -d {quote(origin)} ]; then mkdir -p {target}; else "
        f'mkdir -p "$(dirname {target})"; [ -e {target} ] || : > {target}; fi'
    )
    kind = "--rbind" if options.recursive else "--bind"
    lines = [make, f"mount {kind} {quote(origin)} {target}"]
    plain = [word for word in entry.options or () if word not in ("bind", "rbind")]
    propagation = [word for word in plain if word.removeprefix("r") in _KINDS]
    others = [
        f"{word[1:]}=recursive" if word in ("rro", "rnosuid", "rnodev", "rnoexec") else word
        for word in plain
        if word not in propagation
    ]
    if others:
        lines.append(f"mount -o remount,bind,{quote(','.join(others))} {target}")
    lines += [f"mount --make-{word} {target}" for word in propagation]
    return tuple(lines)


_KINDS = ("shared", "slave", "private", "unbindable")


def pivot() -> Operation:
    """Exchange the root and let go of the old one."""
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
            Call("umount2", (Text("."), flags("umount", c.MNT_DETACH))),
            Call("chdir", (Text("/"),)),
        ),
        shell=('pivot_root "$rootfs" "$rootfs"', "umount -l /"),
    )


def move_root() -> Operation:
    """What `pivot` does, on a root that cannot be pivoted: the initial ramdisk's."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="move the rootfs over /, and make it the root",
        why="A root on a ramdisk cannot be exchanged, only covered; the caller asked for this.",
        source="root.path",
        spec="config.md#root",
        man="mount(2), chroot(2)",
        calls=(
            Call("fchdir", (ROOT,)),
            Call("close", (ROOT,)),
            Call("mount", (Text("."), Text("/"), 0, flags("mount", c.MS_MOVE), 0)),
            Call("chroot", (Text("."),)),
            Call("chdir", (Text("/"),)),
        ),
        shell=('mount --move "$rootfs" /', "chroot ."),
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
            Call("openat", (CWD, Text("/"), flags("open", DIRECTORY)), result=MOUNT),
            set_attributes(MOUNT, c.MOUNT_ATTR_RDONLY),
            close(MOUNT),
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


def masked(path: str, index: int) -> Operation:
    """Hide a file behind /dev/null, or a directory behind an empty read-only tmpfs."""
    over, empty = Cell("null"), Cell("empty")
    directory = [
        close(over),
        *new_filesystem("tmpfs", "tmpfs", ("ro",), c.MOUNT_ATTR_RDONLY, empty),
        attach(empty, TARGET),
        close(empty),
        close(TARGET),
    ]
    how = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC
    place = attach(over, TARGET)
    file = [
        Call("open_tree", (CWD, Text("/dev/null"), flags("open_tree", how)), result=over),
        # a file cannot be mounted on a directory (EINVAL): then the tmpfs takes its place
        Call(place.name, place.args, tolerate=(errno.EINVAL, errno.ENOTDIR), skip_on_error=2),
        close(over),
        Call("close", (TARGET,), skip_on_success=len(directory)),
    ]
    rest = [*file, *directory]
    # still before pivot_root, so /dev/null is the host's own and not what the image put there
    open_target = in_root(ROOT, path, TARGET, tolerate=_ABSENT, skip_on_error=len(rest))
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title=f"mask {path}",
        why="It would tell about, or change, the whole machine; the container sees it empty.",
        source=f"linux.maskedPaths[{index}]",
        spec="config-linux.md#masked-paths",
        man="move_mount(2)",
        calls=(open_target, *rest),
        shell=(
            f"if [ -d {inside(path)} ]; then mount -t tmpfs -o ro tmpfs {inside(path)}; "
            f"elif [ -e {inside(path)} ]; then mount --bind /dev/null {inside(path)}; fi",
        ),
    )


def read_only_path(path: str, index: int) -> Operation:
    """Bind a path onto itself, read-only."""
    how = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_RECURSIVE | c.AT_EMPTY_PATH
    rest = [
        Call("open_tree", (TARGET, EMPTY, flags("open_tree", how)), result=MOUNT),
        set_attributes(MOUNT, c.MOUNT_ATTR_RDONLY),
        attach(MOUNT, TARGET),
        close(MOUNT),
        close(TARGET),
    ]
    open_target = in_root(ROOT, path, TARGET, tolerate=_ABSENT, skip_on_error=len(rest))
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title=f"make {path} read-only",
        why="Kernel settings in it concern the whole machine; the container may look, not change.",
        source=f"linux.readonlyPaths[{index}]",
        spec="config-linux.md#readonly-paths",
        man="mount_setattr(2)",
        calls=(open_target, *rest),
        shell=(
            f"if [ -e {inside(path)} ]; then mount --rbind {inside(path)} {inside(path)} && "
            f"mount -o remount,bind,ro {inside(path)}; fi",
        ),
    )
