"""The operation that shows a container its cgroups: the mount of type `cgroup`."""

from __future__ import annotations

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.cgroups import together
from mobyshell.core.linux.mount_options import parse_options
from mobyshell.core.oci import Mount
from mobyshell.core.runtime.operations.calls import (
    ROOT,
    attach,
    clone_tree,
    close,
    context,
    inside,
    new_filesystem,
    permissions,
    quote,
    reach_directory,
    set_attributes,
)
from mobyshell.core.runtime.operations.mounts import MOUNT, TARGET
from mobyshell.core.runtime.plan import Actor, Call, Cell, Operation, Phase, Text


def mount(
    index: int, entry: Mount, groups: dict[str, str], mode: str, *, top: str, namespace: bool,
    label: str | None = None,
) -> Operation:  # fmt: skip
    """The mount of type `cgroup`: as the machine has it, with the container's own as the root.

    `namespace`: the container has a cgroup namespace, so that a new v2 mount shows only its part.
    Without one its groups have the host's names, and v2 is shown from its `top`, where these are
    found: node agents, and containers that have containers, are given it for that. `label`: what
    SELinux shall know the tmpfs by in which v1 hierarchies lie.
    """
    whole = mode == "v2" and not namespace
    if whole:
        calls, shell = _bind_v2(entry, top)
    elif mode == "v2":
        calls, shell = _mount_v2(entry)
    else:
        calls, shell = _mount_v1(entry, groups, label)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"mount the {'machine' if whole else 'container'}'s cgroups on {entry.destination}",
        why="It has the host's cgroup namespace, whose names are looked for from the top."
        if whole
        else "Programs (and runtimes) read their own limits here; only this container's part is shown.",
        source=f"mounts[{index}]",
        spec="config-linux.md#cgroups-path",
        man="cgroups(7), move_mount(2)",
        calls=tuple(calls),
        shell=tuple(shell),
    )


def _bind_v2(entry: Mount, top: str) -> tuple[list[Call], list[str]]:
    """The host's tree from `top` on."""
    place = inside(entry.destination)
    words = ",".join(entry.options or ()) or "rw"
    calls = [
        *reach_directory(ROOT, entry.destination, TARGET),
        clone_tree(top, MOUNT, recursive=False),
        set_attributes(MOUNT, parse_options(entry.options or ()).attr_set),
        *_placed(),
    ]
    return calls, [
        f"mkdir -p {place}",
        f"mount --bind {quote(top)} {place}",
        f"mount -o {quote(f'remount,bind,{words}')} {place}",
    ]


def _mount_v2(entry: Mount) -> tuple[list[Call], list[str]]:
    """A new mount, which the cgroup namespace lets begin at the container's group."""
    options = parse_options(entry.options or ())
    source = entry.source or "cgroup2"
    calls = [
        *reach_directory(ROOT, entry.destination, TARGET),
        *new_filesystem("cgroup2", source, options.data, options.attr_set, MOUNT),
        *_placed(),
    ]
    words = ",".join(entry.options or ()) or "defaults"
    return calls, [
        f"mkdir -p {inside(entry.destination)}",
        f"mount -t cgroup2 -o {quote(words)} cgroup2 {inside(entry.destination)}",
    ]


def _placed() -> tuple[Call, ...]:
    """The mount comes to its target, and both descriptors go."""
    return attach(MOUNT, TARGET), close(MOUNT), close(TARGET)


def _mount_v1(
    entry: Mount, groups: dict[str, str], label: str | None
) -> tuple[list[Call], list[str]]:
    """A tmpfs with one directory per controller, each a bind of the container's own cgroup."""
    attributes = parse_options(entry.options or ()).attr_set
    group, place = Cell("group"), Cell("place")
    destination = inside(entry.destination)
    words = [word for word in entry.options or () if word not in ("ro", "rw")]
    shown = quote(",".join([*(["ro"] if attributes & c.MOUNT_ATTR_RDONLY else []), *words]))
    writable = attributes & ~c.MOUNT_ATTR_RDONLY
    data = ("mode=755", *context(label))
    calls = [
        *reach_directory(ROOT, entry.destination, TARGET),
        *new_filesystem("tmpfs", "cgroup", data, writable, MOUNT),
        attach(MOUNT, TARGET),
        close(TARGET),
    ]
    shell = [
        f"mkdir -p {destination}",
        f"mount -t tmpfs -o {quote(','.join([*words, *data]))} cgroup {destination}",
    ]
    for controller, path in together(groups).items():
        if not controller:
            continue
        name = controller.removeprefix("name=")
        links = name.split(",") if "," in name else []
        calls += [
            Call("mkdirat", (MOUNT, Text(name), permissions(0o755))),
            clone_tree(path, group, recursive=False),
            set_attributes(group, attributes),
            Call("openat", (MOUNT, Text(name), c.O_PATH | c.O_CLOEXEC), result=place),
            attach(group, place),
            close(place),
            close(group),
            # where each is looked for by its own name
            *(Call("symlinkat", (Text(name), MOUNT, Text(one))) for one in links),
        ]
        shell += [
            f"mkdir {destination}/{name}",
            f"mount --bind {quote(path)} {destination}/{name}",
            f"mount -o remount,bind,{shown} {destination}/{name}",
            *(f"ln -s {name} {destination}/{one}" for one in links),
        ]
    if attributes & c.MOUNT_ATTR_RDONLY:
        calls.append(set_attributes(MOUNT, c.MOUNT_ATTR_RDONLY))
        shell.append(f"mount -o remount,bind,ro {destination}")
    return [*calls, close(MOUNT)], shell
