"""Operations that mount the root filesystem itself, from what a snapshotter says. Pure.

The host mounts nothing: the mount is made by the child, in its own mount namespace (or, where it
could not reach the layers, by the runtime, detached, and handed on), and is gone with the last
process in there. So nothing is left to be unmounted, however anybody dies.
"""

from __future__ import annotations

import re

from mobyshell.core.errors import Unsupported
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.mount_options import MountOptions, parse_options
from mobyshell.core.runtime.operations.calls import (
    CWD,
    DIRECTORY,
    ROOT,
    attach,
    clone_tree,
    close,
    configure,
    configured,
    flags,
    quote,
    set_attributes,
)  # fmt: skip
from mobyshell.core.runtime.operations.roots import TARGET, spread_of_root
from mobyshell.core.runtime.operations.trees import (
    ID_HINTS,
    MAKE_USER_NAMESPACE,
    Ids,
    Tree,
    map_ids,
)
from mobyshell.core.runtime.plan import SNAPSHOT, Actor, Call, Cell, Flags, Operation, Phase, Text
from mobyshell.core.runtime.values import RootMount
from mobyshell.core.values import replace

LONGEST_VALUE = 255
"""Bytes that fsconfig(2) takes in one string (fs/fsopen.c)."""

LONGEST_DATA = 4095
"""Bytes that mount(2) takes of all options together: a page."""

LAYERS_ONE_BY_ONE = (6, 8)
"""The kernel since which overlayfs takes each lower directory by itself, as `lowerdir+`."""

LAYERS_BY_DESCRIPTOR = (6, 13)
"""The kernel since which they may be mounts that lie nowhere, such as those with mapped ids."""

_LOWER = "lowerdir="
_UIDS, _GIDS = "uidmap=", "gidmap="
_WHY = "An image's layers are stacked by the kernel; only this container sees the stack mounted."


def templated(mount: RootMount) -> tuple[RootMount, str]:
    """`mount` with a placeholder for the directory of the container's own layer, and that directory;
    "" where it has none: a view. Raises Unsupported if its path is too long."""
    named = dict(option.partition("=")[::2] for option in mount.options)
    upper = named.get("upperdir", "") if mount.type == "overlay" else ""
    directory = upper.rpartition("/")[0]
    if not directory:
        return mount, ""
    if len(directory.encode()) + len("/work") > LONGEST_VALUE:
        raise Unsupported(
            f"the kernel takes paths of at most {LONGEST_VALUE} bytes for a layer: {directory}",
            hint="choose a shorter --root for the store",
        )
    options = tuple(
        f"{key}={SNAPSHOT}{value[len(directory) :]}"
        if value.startswith(f"{directory}/") and key in ("upperdir", "workdir")
        else option
        for option in mount.options
        for key, _, value in [option.partition("=")]
    )
    return RootMount(mount.type, mount.source, options), directory


def mount_root(
    mount: RootMount, rootfs: str, propagation: str | None, kernel: tuple[int, int]
) -> Operation:
    """Mount the root filesystem on `rootfs` and open it, in the child."""
    if ids_of(mount) is not None:
        raise Unsupported(
            "the ids of a root filesystem are mapped only for a user namespace of the container's "
            "own, by root",
            hint="a snapshot without the labels containerd.io/snapshot/uidmapping and gidmapping",
        )
    options = parse_options(mount.options)
    kind, recursive = spread_of_root(propagation)
    spread = set_attributes(ROOT, 0, 0, kind, recursive=recursive)
    man = "fsopen(2), fsconfig(2), fsmount(2), move_mount(2)"
    if _too_long(options) and kernel < LAYERS_ONE_BY_ONE:
        man = "mount(2)"
        calls = [*_by_mount(mount, options, rootfs), spread]
    else:
        calls = [
            *_detached(mount, options, ROOT),
            Call("openat", (CWD, Text(rootfs), flags("open", DIRECTORY)), result=TARGET),
            spread,
            attach(ROOT, TARGET),
            close(TARGET),
        ]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"mount {_shown(mount)} on {rootfs}, and open it",
        why=_WHY,
        source="root.path",
        spec="config.md#root",
        man="open_tree(2), move_mount(2)" if options.bind else man,
        calls=tuple(calls),
        shell=(_shell(mount),),
    )


def open_root(mount: RootMount, tree: Tree, kernel: tuple[int, int]) -> Operation:
    """The same by the runtime, not attached anywhere, for a child in a user namespace.

    Raises Unsupported where the kernel takes so many layers only by mount(2), which attaches.
    """
    options = parse_options([one for one in mount.options if not one.startswith((_UIDS, _GIDS))])
    if _too_long(options) and kernel < LAYERS_ONE_BY_ONE:
        raise Unsupported(
            "this kernel takes so many layers only in the user namespace that it cannot reach "
            "them from",
            hint="Linux 6.8 or later, or an image with fewer layers",
        )
    ids = ids_of(mount)
    if ids is not None and not options.bind and kernel < LAYERS_BY_DESCRIPTOR:
        raise Unsupported(
            "this kernel does not put layers with mapped ids over each other",
            hint="Linux 6.13 or later, or the snapshotter native, which copies them",
        )
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"mount {_shown(mount)} for the child, nowhere yet",
        why="As root of its own user namespace the child cannot reach the layers.",
        source="root.path",
        spec="config.md#root",
        man="fsopen(2), fsconfig(2), fsmount(2)",
        calls=tuple(
            _detached(mount, options, tree.cell)
            if ids is None
            else _mapped(mount, options, ids, tree.cell)
        ),
        hints=() if ids is None else ID_HINTS,
        shell=(_shell(mount),),
    )


def ids_of(mount: RootMount) -> Ids | None:
    """How the ids of the layers are mapped: containerd's options `uidmap=` and `gidmap=`, each
    `CONTAINER:HOST:SIZE[,…]`; None where they are not."""
    found = {}
    for option in mount.options:
        for name in (_UIDS, _GIDS):
            if option.startswith(name):
                text = option.removeprefix(name).replace(":", " ").replace(",", "\n")
                found[name] = f"{text}\n"
    return Ids(found.get(_UIDS, ""), found.get(_GIDS, "")) if found else None


def _mapped(mount: RootMount, options: MountOptions, ids: Ids, result: Cell) -> list[Call]:
    """The same, with each layer (but for the container's own, which is written) a mount of its own
    whose ids are mapped."""
    namespace, context = Cell("ids of the root"), Cell("context")
    calls = [Call(MAKE_USER_NAMESPACE, (Text(ids.uids), Text(ids.gids)), result=namespace)]
    if options.bind:
        calls += [clone_tree(mount.source, result, recursive=options.recursive),
                  map_ids(result, namespace, recursive=options.recursive)]  # fmt: skip
        if options.attr_set or options.attr_clear:
            calls.append(set_attributes(result, options.attr_set, options.attr_clear))
        return calls
    rest = replace(options, data=tuple(x for x in options.data if not x.startswith(_LOWER)))
    ready = _detached(mount, rest, result)
    by_descriptor = Flags(c.FSCONFIG_SET_FD, "FSCONFIG_SET_FD")
    calls += ready[:-3]  # all but: create it, make a mount of it, close the context
    held: list[Call] = []
    for option in options.data:
        for path in layers(option) if option.startswith(_LOWER) else ():
            layer = Cell(f"layer {len(held)}")
            held.append(close(layer))  # it must be mounted until there is the overlay
            calls += [
                clone_tree(path, layer, recursive=False),
                map_ids(layer, namespace, recursive=False),
                Call("fsconfig", (context, by_descriptor, Text("lowerdir+"), 0, layer)),
            ]
    return [*calls, *ready[-3:], *held]


def _detached(mount: RootMount, options: MountOptions, result: Cell) -> list[Call]:
    if options.bind:
        calls = [clone_tree(mount.source, result, recursive=options.recursive)]
        if options.attr_set or options.attr_clear:
            calls.append(set_attributes(result, options.attr_set, options.attr_clear))
        return calls
    context = Cell("context")
    return [
        Call("fsopen", (Text(mount.type), Flags(1, "FSOPEN_CLOEXEC")), result=context),
        configure(context, "source", mount.source),
        *(call for option in options.data for call in _configured(context, option)),
        Call(
            "fsconfig",
            (context, Flags(c.FSCONFIG_CMD_CREATE, "FSCONFIG_CMD_CREATE"), 0, 0, 0),
        ),
        Call(
            "fsmount",
            (context, Flags(1, "FSMOUNT_CLOEXEC"), flags("mount_attr", options.attr_set)),
            result=result,
        ),
        close(context),
    ]


def _configured(context: Cell, option: str) -> list[Call]:
    if not option.startswith(_LOWER) or len(option) - len(_LOWER) <= LONGEST_VALUE:
        name, value = configured(option)
        if value is not None and len(value.encode()) > LONGEST_VALUE:
            raise Unsupported(
                f"the kernel takes paths of at most {LONGEST_VALUE} bytes in {name}",
                hint="choose a shorter --root for the store",
            )
        return [configure(context, name, value)]
    # top first in both forms; here as they are, there with backslashes before what has a meaning
    return [configure(context, "lowerdir+", layer) for layer in layers(option)]


def layers(option: str) -> list[str]:
    """The lower directories of `lowerdir=…`, top first, as plain paths."""
    parts = re.findall(r"(?:\\.|[^:\\])+", option.removeprefix(_LOWER))
    return [re.sub(r"\\(.)", r"\1", part) for part in parts]


def _by_mount(mount: RootMount, options: MountOptions, rootfs: str) -> list[Call]:
    bits, words = options.as_flags()
    data = ",".join(words)
    if len(data.encode()) > LONGEST_DATA:
        raise Unsupported(
            f"this kernel takes options of {LONGEST_DATA} bytes; the image's layers need more",
            hint="Linux 6.8 or later, or a shorter --root for the store",
        )
    return [
        Call(
            "mount",
            (Text(mount.source), Text(rootfs), Text(mount.type), flags("mount", bits), Text(data)),
        ),
        Call("openat", (CWD, Text(rootfs), flags("open", DIRECTORY)), result=ROOT),
    ]


def _too_long(options: MountOptions) -> bool:
    return any(
        one.startswith(_LOWER) and len(one) - len(_LOWER) > LONGEST_VALUE for one in options.data
    )


def _shown(mount: RootMount) -> str:
    lower = next((one for one in mount.options if one.startswith(_LOWER)), "")
    if not lower:
        return f"{mount.type} {mount.source}"
    count = len(layers(lower))
    return f"{mount.type} of {count} layer{'s' if count > 1 else ''}"


def _shell(mount: RootMount) -> str:
    words = quote(",".join(mount.options))
    return f'mount -t {quote(mount.type)} -o {words} {quote(mount.source)} "$rootfs"'
