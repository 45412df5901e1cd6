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
from mobyshell.core.runtime.operations.trees import Tree
from mobyshell.core.runtime.plan import SNAPSHOT, Actor, Call, Cell, Flags, Operation, Phase, Text
from mobyshell.core.runtime.values import RootMount

LONGEST_VALUE = 255
"""Bytes that fsconfig(2) takes in one string (fs/fsopen.c)."""

LONGEST_DATA = 4095
"""Bytes that mount(2) takes of all options together: a page."""

LAYERS_ONE_BY_ONE = (6, 5)
"""The kernel since which overlayfs takes each lower directory by itself, as `lowerdir+`."""

_LOWER = "lowerdir="
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
    options = parse_options(mount.options)
    if _too_long(options) and kernel < LAYERS_ONE_BY_ONE:
        raise Unsupported(
            "this kernel takes so many layers only in the user namespace that it cannot reach "
            "them from",
            hint="Linux 6.5 or later, or an image with fewer layers",
        )
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"mount {_shown(mount)} for the child, nowhere yet",
        why="As root of its own user namespace the child cannot reach the layers.",
        source="root.path",
        spec="config.md#root",
        man="fsopen(2), fsconfig(2), fsmount(2)",
        calls=tuple(_detached(mount, options, tree.cell)),
        shell=(_shell(mount),),
    )


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
            hint="Linux 6.5 or later, or a shorter --root for the store",
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
