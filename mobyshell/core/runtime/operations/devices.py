"""Operations that fill /dev: the devices and links that every container has, and the spec's own."""

from __future__ import annotations

import errno
import os.path
from collections.abc import Mapping

from mobyshell.core.linux import constants as c
from mobyshell.core.linux import devices as nodes
from mobyshell.core.oci import Device, Linux
from mobyshell.core.runtime.operations.calls import (
    DIRECTORY,
    PATH,
    ROOT,
    attach,
    clone_tree,
    close,
    flags,
    in_root,
    inside,
    make_directories,
    make_file,
    quote,
    set_attributes,
)  # fmt: skip
from mobyshell.core.runtime.operations.trees import Tree
from mobyshell.core.runtime.operations.verify import must_be_device
from mobyshell.core.runtime.plan import Actor, Call, Cell, Flags, Operation, Phase, Text


def planned(linux: Linux, user_namespace: bool, made: Mapping[str, Tree]) -> list[Operation]:
    """The devices that every container has, those of the spec, and the usual links. `made`: by
    their members of the spec, those that the runtime has made for the child."""
    return [
        default_devices(user_namespace),
        *(
            device(index, one, user_namespace, made.get(f"linux.devices[{index}]"))
            for index, one in enumerate(linux.devices or ())
            # that one is always the link to the container's own
            if os.path.normpath(one.path) != "/dev/ptmx"
        ),
        links(),
    ]


def default_devices(in_user_namespace: bool) -> Operation:
    """The six devices that every container has."""
    calls: list[Call] = []
    directory = Cell("dev")
    calls += [*make_directories(ROOT, "dev"), in_root(ROOT, "dev", directory, DIRECTORY)]
    shell = ['mkdir -p "$rootfs/dev"']
    for path, major, minor in nodes.DEFAULT:
        name = path.removeprefix("/dev/")
        if in_user_namespace:
            calls += _bound(path, "c", major, minor)
            shell.append(f'[ -e "$rootfs{path}" ] || : > "$rootfs{path}"')
            shell.append(f'mount -o bind,ro {path} "$rootfs{path}"')
        else:
            calls += _made(directory, name, path, "c", 0o666, major, minor)
            shell.append(
                f'[ -e "$rootfs{path}" ] || mknod -m 666 "$rootfs{path}" c {major} {minor}'
            )
    calls.append(close(directory))
    names = ", ".join(path.removeprefix("/dev/") for path, _, _ in nodes.DEFAULT)
    why = "Every container has these; programs break without them."
    if in_user_namespace:
        why += " mknod needs real privilege, so the host's own are bound instead."
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"{'bind' if in_user_namespace else 'make'} the default devices: {names}",
        why=why,
        spec="config-linux.md#default-devices",
        man="mknodat(2)",
        calls=tuple(calls),
        shell=tuple(shell),
    )


def links() -> Operation:
    """The links in /dev that point into /proc/self/fd."""
    directory = Cell("dev")
    calls = [in_root(ROOT, "dev", directory, DIRECTORY)]
    for target, name in nodes.LINKS:
        if name == "ptmx":
            # an image may bring a node of its own, that would open the host's ptmx
            calls.append(Call("unlinkat", (directory, Text(name), 0), tolerate=(errno.ENOENT,)))
        calls.append(
            Call("symlinkat", (Text(target), directory, Text(name)), tolerate=(errno.EEXIST,))
        )
    calls.append(close(directory))
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="link /dev/fd, stdin, stdout, stderr and ptmx",
        why="Shells and scripts open their own streams by these names.",
        spec="runtime-linux.md#dev-symbolic-links",
        man="symlinkat(2)",
        calls=tuple(calls),
        shell=tuple(
            f'ln -sfn {target} "$rootfs/dev/{name}"'
            if name == "ptmx"
            else f'[ -e "$rootfs/dev/{name}" ] || ln -s {target} "$rootfs/dev/{name}"'
            for target, name in nodes.LINKS
        ),
    )


def device(index: int, entry: Device, in_user_namespace: bool, made: Tree | None) -> Operation:
    """One entry of `linux.devices`; `made` if it only has to be attached."""
    path = entry.path
    parent_path, _, name = path.strip("/").rpartition("/")
    mode = entry.file_mode if entry.file_mode is not None else 0o666
    calls: list[Call]
    shell: tuple[str, ...]
    if in_user_namespace:
        major, minor = (0, 0) if entry.type == "p" else (entry.major or 0, entry.minor or 0)
        calls = _attached(path, made) if made else _bound(path, entry.type, major, minor)
        shell = (
            f'mkdir -p "$(dirname {inside(path)})"',
            f"[ -e {inside(path)} ] || : > {inside(path)}",
            f"mount -o bind,ro {quote(path)} {inside(path)}",
        )
    else:
        parent = Cell("directory")
        major, minor = (0, 0) if entry.type == "p" else (entry.major or 0, entry.minor or 0)
        owner = (entry.uid or 0, entry.gid or 0)
        calls = [
            *make_directories(ROOT, parent_path),
            in_root(ROOT, parent_path, parent, DIRECTORY),
            *_made(parent, name, path, entry.type, mode, major, minor, owner),
            close(parent),
        ]
        numbers = "" if entry.type == "p" else f" {entry.major} {entry.minor}"
        shell = (
            f'mkdir -p "$(dirname {inside(path)})"',
            f"[ -e {inside(path)} ] || {{ mknod -m {mode:o} {inside(path)} {entry.type}{numbers}; "
            f"chown -h {owner[0]}:{owner[1]} {inside(path)}; }}",
        )
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"make device {path} ({entry.type} {entry.major}:{entry.minor}, {mode:04o})",
        why="The spec lists it among the devices.",
        source=f"linux.devices[{index}]",
        spec="config-linux.md#devices",
        man="mknodat(2)",
        calls=tuple(calls),
        shell=shell,
    )


def _made(
    parent: Cell, name: str, path: str, type: str, mode: int, major: int, minor: int,
    owner: tuple[int, int] = (0, 0),
) -> list[Call]:  # fmt: skip
    """The node `name` in the directory `parent`. One that is there already is taken as it is, with
    its owner and mode, but only if it is this device: it could be a disk, or a link to elsewhere."""
    kind, node = nodes.KINDS[type], Cell("node")
    how = c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC
    wanted = nodes.describe(type, major, minor)
    check = [
        Call("openat", (parent, Text(name), flags("open", how)), result=node),
        *must_be_device(node, path, kind, major, minor,
                        f"what is at {path} already is not the device {wanted}"),
        close(node),
    ]  # fmt: skip
    shown = f"makedev({major}, {minor})"
    make = Call(
        "mknodat",
        (parent, Text(name), Flags(kind | mode, f"{type}|{mode:04o}"),
         Flags(nodes.number(major, minor), shown)),
        tolerate=(errno.EEXIST,),
        skip_on_error=0 if owner == (0, 0) else 1,
        skip_on_success=len(check) if owner == (0, 0) else 0,
    )  # fmt: skip
    if owner == (0, 0):
        return [make, *check]
    follow = Flags(c.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW")
    own = Call("fchownat", (parent, Text(name), *owner, follow), skip_on_success=len(check))
    return [make, own, *check]


def _attached(path: str, made: Tree) -> list[Call]:
    """The device that the runtime has made, on a file of its name."""
    target, how = Cell("target"), PATH | c.O_NOFOLLOW
    make = make_file(ROOT, path)
    return [
        in_root(ROOT, path, target, how, tolerate=(errno.ENOENT,), skip_on_success=len(make) + 1),
        *make,
        in_root(ROOT, path, target, how),
        attach(made.descriptor, target),
        close(made.descriptor),
        close(target),
    ]


def _bound(path: str, type: str, major: int, minor: int) -> list[Call]:
    """The host's device bound onto a file of the same name: what a user namespace can do. Only if
    it is what the spec says: the host may have another by that name, a disk for example."""
    node, target = Cell("device"), Cell("target")
    wanted = nodes.describe(type, major, minor)
    said = f"{path} of this machine is not the device {wanted}"
    make = make_file(ROOT, path)
    # on a link of the image itself, not where it leads
    how = PATH | c.O_NOFOLLOW
    return [
        clone_tree(path, node, recursive=False),
        *must_be_device(node, path, nodes.KINDS[type], major, minor, said),
        # read-only is only the node: who is the host's root inside must not change its mode or owner
        set_attributes(node, c.MOUNT_ATTR_RDONLY),
        in_root(ROOT, path, target, how, tolerate=(errno.ENOENT,), skip_on_success=len(make) + 1),
        *make,
        in_root(ROOT, path, target, how),
        attach(node, target),
        close(node),
        close(target),
    ]
