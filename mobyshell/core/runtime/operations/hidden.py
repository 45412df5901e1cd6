"""Operations that hide paths of the container, or make them read-only."""

from __future__ import annotations

import errno

from mobyshell.core.linux import constants as c
from mobyshell.core.linux import devices
from mobyshell.core.oci import Linux
from mobyshell.core.runtime.operations.calls import (
    CWD,
    EMPTY,
    PATH,
    ROOT,
    attach,
    close,
    context,
    flags,
    in_root,
    inside,
    new_filesystem,
    quote,
    set_attributes,
)  # fmt: skip
from mobyshell.core.runtime.operations.verify import must_be_device
from mobyshell.core.runtime.plan import Actor, Call, Cell, Operation, Phase, Text

NULL = Cell("null")
"""The host's /dev/null, an O_PATH descriptor."""
NOTHING = Cell("nothing")
"""An empty read-only tmpfs that lies nowhere."""

MOUNT = Cell("mount")
TARGET = Cell("target")

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)


def planned(linux: Linux, label: str | None = None) -> list[Operation]:
    """All that a spec hides, each path once, and then what it makes read-only. `label`: what SELinux
    shall know the empty directories by."""
    paths = linux.masked_paths or ()
    operations = [hold_covers(label)] if paths else []
    operations += [
        masked(path, index, label) for index, path in enumerate(paths) if path not in paths[:index]
    ]
    return operations + [
        read_only_path(path, index) for index, path in enumerate(linux.readonly_paths or ())
    ]


def hold_covers(label: str | None) -> Operation:
    """Open the host's /dev/null, which is laid over files that are to be hidden, and make the empty
    tmpfs that is laid over directories."""
    said = "/dev/null of this machine is not the device c 1:3"
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="open /dev/null, and make sure that it is the device; make an empty tmpfs",
        why="What hides a file must be empty for ever: the image's own could be anything (CVE-2025-31133).",
        spec="config-linux.md#masked-paths",
        man="statx(2)",
        calls=(
            Call("openat", (CWD, Text("/dev/null"), flags("open", PATH)), result=NULL),
            *must_be_device(NULL, "/dev/null", *devices.NULL, said),
            *_empty(label, NOTHING),
        ),
    )


def _empty(label: str | None, result: Cell) -> list[Call]:
    return new_filesystem("tmpfs", "tmpfs", ("ro", *context(label)), c.MOUNT_ATTR_RDONLY, result)


def masked(path: str, index: int, label: str | None) -> Operation:
    """Hide a file behind /dev/null, or a directory behind an empty read-only tmpfs."""
    over, empty = Cell("over"), Cell("empty")
    how = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_EMPTY_PATH
    # before Linux 6.15 what lies nowhere cannot be cloned: then each has one of its own
    another = _empty(label, empty)
    directory = [
        close(over),
        Call(
            "open_tree",
            (NOTHING, EMPTY, flags("open_tree", how)),
            result=empty,
            tolerate=(errno.EINVAL,),
            skip_on_success=len(another),
        ),
        *another,
        attach(empty, TARGET),
        close(empty),
        close(TARGET),
    ]
    place = attach(over, TARGET)
    file = [
        Call("open_tree", (NULL, EMPTY, flags("open_tree", how)), result=over),
        # it is the host's own file: whoever is root inside must not change its mode, owner or times
        set_attributes(over, c.MOUNT_ATTR_RDONLY),
        # a file cannot be mounted on a directory (EINVAL): then the tmpfs takes its place
        Call(place.name, place.args, tolerate=(errno.EINVAL, errno.ENOTDIR), skip_on_error=2),
        close(over),
        Call("close", (TARGET,), skip_on_success=len(directory)),
    ]
    # to take a mount away again that could not be attached costs more than all the rest
    looked = Call(
        "faccessat2",
        (TARGET, Text("."), 0, 0),
        tolerate=(errno.ENOTDIR, errno.EACCES),
        skip_on_success=len(file) + 1,
    )
    rest = [looked, *file, *directory]
    options = quote(",".join(("ro", *context(label)))) if label else "ro"
    # a link of the image is covered itself: whoever may change it does not say what is hidden
    how_open = PATH | c.O_NOFOLLOW
    open_target = in_root(ROOT, path, TARGET, how_open, tolerate=_ABSENT, skip_on_error=len(rest))
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
            f"if [ -d {inside(path)} ]; then mount -t tmpfs -o {options} tmpfs {inside(path)}; "
            f"elif [ -e {inside(path)} ]; then mount -o bind,ro /dev/null {inside(path)}; fi",
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
