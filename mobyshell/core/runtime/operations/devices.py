"""Operations that fill /dev: the devices and links that every container has, and the spec's own."""

from __future__ import annotations

import errno
import os

from mobyshell.core.linux import constants as c
from mobyshell.core.oci import Device
from mobyshell.core.runtime.operations.calls import (
    DIRECTORY,
    ROOT,
    attach,
    clone_tree,
    close,
    in_root,
    inside,
    make_directories,
    make_file,
    quote,
)  # fmt: skip
from mobyshell.core.runtime.plan import Actor, Call, Cell, Flags, Operation, Phase, Text

# config-linux.md#default-devices; all character devices, mode 0666, owned by root
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9), ("/dev/tty", 5, 0),
)  # fmt: skip

# runtime-linux.md#dev-symbolic-links; ptmx of the container's own devpts instance
LINKS = (
    ("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"), ("pts/ptmx", "ptmx"),
)  # fmt: skip

_TYPE = {"c": c.S_IFCHR, "u": c.S_IFCHR, "b": c.S_IFBLK, "p": c.S_IFIFO}


def device_number(major: int, minor: int) -> int:
    """The kernel's encoding of a device number, as mknodat(2) takes it."""
    return os.makedev(major, minor)


def default_devices(in_user_namespace: bool) -> Operation:
    """The six devices that every container has."""
    calls: list[Call] = []
    directory = Cell("dev")
    calls += [*make_directories(ROOT, "dev"), in_root(ROOT, "dev", directory, DIRECTORY)]
    shell = ['mkdir -p "$rootfs/dev"']
    for path, major, minor in DEFAULT_DEVICES:
        name = path.removeprefix("/dev/")
        if in_user_namespace:
            calls += _bound(path)
            shell.append(f'[ -e "$rootfs{path}" ] || : > "$rootfs{path}"')
            shell.append(f'mount --bind {path} "$rootfs{path}"')
        else:
            shown = Flags(c.S_IFCHR | 0o666, "S_IFCHR|0666")
            number = Flags(device_number(major, minor), f"makedev({major}, {minor})")
            make = Call("mknodat", (directory, Text(name), shown, number), tolerate=(errno.EEXIST,))
            calls.append(make)
            shell.append(
                f'[ -e "$rootfs{path}" ] || mknod -m 666 "$rootfs{path}" c {major} {minor}'
            )
    calls.append(close(directory))
    names = ", ".join(path.removeprefix("/dev/") for path, _, _ in DEFAULT_DEVICES)
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
    for target, name in LINKS:
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
            for target, name in LINKS
        ),
    )


def device(index: int, entry: Device, in_user_namespace: bool) -> Operation:
    """One entry of `linux.devices`."""
    path = entry.path
    parent_path, _, name = path.strip("/").rpartition("/")
    mode = entry.file_mode if entry.file_mode is not None else 0o666
    calls: list[Call]
    shell: tuple[str, ...]
    if in_user_namespace:
        calls = _bound(path)
        shell = (
            f'mkdir -p "$(dirname {inside(path)})"',
            f"[ -e {inside(path)} ] || : > {inside(path)}",
            f"mount --bind {quote(path)} {inside(path)}",
        )
    else:
        parent = Cell("directory")
        kind = _TYPE[entry.type]
        number = 0 if entry.type == "p" else device_number(entry.major or 0, entry.minor or 0)
        shown = f"makedev({entry.major or 0}, {entry.minor or 0})"
        owner = (entry.uid or 0, entry.gid or 0)
        calls = [
            *make_directories(ROOT, parent_path),
            in_root(ROOT, parent_path, parent, DIRECTORY),
            Call(
                "mknodat",
                (parent, Text(name), Flags(kind | mode, f"{entry.type}|{mode:04o}"),
                 Flags(number, shown)),
                tolerate=(errno.EEXIST,),
            ),
            Call("fchownat", (parent, Text(name), *owner,
                              Flags(c.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"))),
            close(parent),
        ]  # fmt: skip
        numbers = "" if entry.type == "p" else f" {entry.major} {entry.minor}"
        shell = (
            f'mkdir -p "$(dirname {inside(path)})"',
            f"[ -e {inside(path)} ] || mknod -m {mode:o} {inside(path)} {entry.type}{numbers}",
            f"chown -h {owner[0]}:{owner[1]} {inside(path)}",
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


def _bound(path: str) -> list[Call]:
    """The host's device bound onto a file of the same name: what a user namespace can do."""
    node, target = Cell("device"), Cell("target")
    make = make_file(ROOT, path)
    return [
        clone_tree(path, node, recursive=False),
        in_root(ROOT, path, target, tolerate=(errno.ENOENT,), skip_on_success=len(make) + 1),
        *make,
        in_root(ROOT, path, target),
        attach(node, target),
        close(node),
        close(target),
    ]
