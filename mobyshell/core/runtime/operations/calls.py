"""Sequences of calls that many operations are made of.

Owns the fixed descriptor numbers of the child and the safe ways to reach a path: everything
inside the root filesystem is opened by openat2(2) with RESOLVE_IN_ROOT on the root's descriptor,
so that no symbolic link in an image leads out of it. What depends on the machine at run time
(does it exist, is it a directory) is expressed as errnos to tolerate and calls to skip.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.constants import show_flags
from mobyshell.core.runtime.plan import Call, Cell, Data, Flags, Text
from mobyshell.core.values import replace

SYNC = Flags(3, "<runtime>")
"""The child's end of the socket to the runtime: gates, readiness, the terminal's master."""
FIFO = Flags(4, "<exec.fifo>")
"""The FIFO on which the created container waits for `start`."""
CONSOLE = Flags(5, "<console>")
"""The master of the container's terminal, until the runtime has it."""
LISTENER = Flags(6, "<agent>")
"""The socket of the agent that is told of the system calls of a filter."""
AGENT = Cell("agent")
"""Where that socket is now; before, the descriptor that the runtime gave."""
FIRST_FREE = 7
"""Descriptors from here on are closed at the child's start, and again before its program runs."""

ROOT = Cell("root")
"""The root filesystem, an O_PATH descriptor."""
DIRECTORY = c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC
PATH = c.O_PATH | c.O_CLOEXEC
EMPTY = Text("")
SET_STRING = Flags(c.FSCONFIG_SET_STRING, "FSCONFIG_SET_STRING")
CWD = Flags(c.AT_FDCWD, "AT_FDCWD")


def flags(family: str, value: int) -> Flags:
    """`value` with its names."""
    return Flags(value, show_flags(family, value))


def permissions(mode: int) -> Flags:
    """A file's mode or a mask of them, which everybody writes in octal."""
    return Flags(mode, f"0{mode:o}" if mode else "0")


def close(held: Cell | Flags) -> Call:
    return Call("close", (held,))


def in_root(
    root: Cell | Flags,
    path: str,
    result: Cell,
    how: int = PATH,
    *,
    mode: int = 0,
    links: bool = True,
    tolerate: tuple[int, ...] = (),
    skip_on_error: int = 0,
    skip_on_success: int = 0,
    otherwise: str = "",
) -> Call:
    """Open `path` as the container would see it, never outside `root` (openat2(2)); without
    `links` no component of it may be a symbolic one (ELOOP)."""
    resolve = c.RESOLVE_IN_ROOT | (0 if links else c.RESOLVE_NO_SYMLINKS)
    shown = f"{{{show_flags('open', how)}, {show_flags('resolve', resolve)}}}"
    open_how = Data(struct.pack("=QQQ", how, mode, resolve), shown)
    return Call(
        "openat2",
        (root, Text(path.strip("/") or "."), open_how, 24),
        result=result,
        tolerate=tolerate,
        skip_on_error=skip_on_error,
        skip_on_success=skip_on_success,
        otherwise=otherwise,
    )


def make_directories(root: Cell, path: str, mode: int = 0o755) -> list[Call]:
    """mkdir -p beneath `root`, component by component, each through its parent's descriptor."""
    calls: list[Call] = []
    parts = [part for part in path.split("/") if part and part != "."]
    for depth, part in enumerate(parts):
        make = Call("mkdirat", (root, Text(part), permissions(mode)), tolerate=(errno.EEXIST,))
        if depth == 0:
            calls.append(make)
            continue
        parent = Cell("parent")
        calls += [
            # of a link that leads nowhere this makes nothing: see `ask_for`
            in_root(
                root,
                "/".join(parts[:depth]),
                parent,
                DIRECTORY,
                tolerate=(errno.ENOENT,),
                skip_on_error=2,
            ),
            Call("mkdirat", (parent, Text(part), permissions(mode)), tolerate=(errno.EEXIST,)),
            close(parent),
        ]
    return calls


def reach_directory(
    root: Cell, path: str, result: Cell, mode: int = 0o755, *, links: bool = True,
    if_there: Sequence[Call] = (), otherwise: str = "",
) -> list[Call]:  # fmt: skip
    """Open the directory `path` beneath `root` into `result`; made first if it is not there.
    `if_there`: done only if it was. `otherwise`: what is wrong if there is a link, or no directory."""
    made = in_root(
        root, path, result, DIRECTORY, links=links, skip_on_success=len(if_there),
        otherwise=otherwise,
    )  # fmt: skip
    rest = [*make_directories(root, path, mode), made]
    if links:
        rest = [*make_directories(root, path, mode), *ask_for(b"d", root, path, made)]
    first = in_root(
        root, path, result, DIRECTORY, links=links, tolerate=(errno.ENOENT,),
        skip_on_success=len(rest), otherwise=otherwise,
    )  # fmt: skip
    return [first, *rest, *if_there]


def ask_for(kind: bytes, root: Cell, path: str, opened: Call) -> list[Call]:
    """`opened`, which opens `path`; or, if there is nothing, then the same after the runtime has
    made it: where a link leads nowhere, somebody must read it to know what is missing."""
    ask = [*hand_over(kind + path.encode("utf-8", "surrogateescape"), root), opened]
    try_first = replace(
        opened, tolerate=(errno.ENOENT,), skip_on_success=len(ask) + opened.skip_on_success
    )
    return [try_first, *ask]


def make_file(root: Cell, path: str, mode: int = 0o644) -> list[Call]:
    """An empty file `path` beneath `root`, with the directories on its way."""
    made = Cell("made")
    parent = path.strip("/").rpartition("/")[0]
    create = c.O_WRONLY | c.O_CREAT | c.O_NOFOLLOW | c.O_CLOEXEC
    # ENOENT, ELOOP: by way of a link, or being one, that leads nowhere
    missing = (errno.ENOENT, errno.ELOOP)
    return [
        *make_directories(root, parent),
        in_root(root, path, made, create, mode=mode, tolerate=missing, skip_on_error=1),
        close(made),
    ]


def reach_mount_point(root: Cell, path: str, source: Cell | Flags, result: Cell) -> list[Call]:
    """Open `path` beneath `root`; if it is not there, made as what the mount `source` is:
    directory or file."""
    probe = Cell("source")
    # one in a number of its own was opened by somebody else: `.` in it may not be ours to enter
    asked = (
        (CWD, Text(f"/proc/self/fd/{source.value}"))
        if isinstance(source, Flags)
        else (source, Text("."))
    )
    as_file = [*make_file(root, path), *ask_for(b"f", root, path, in_root(root, path, result))]
    done = in_root(root, path, result, skip_on_success=len(as_file))
    as_directory = [
        close(probe), *make_directories(root, path), *ask_for(b"d", root, path, done)
    ]  # fmt: skip
    is_directory = Call(
        "openat",
        (*asked, flags("open", DIRECTORY)),
        result=probe,
        tolerate=(errno.ENOTDIR,),
        skip_on_error=len(as_directory),
    )
    rest = [is_directory, *as_directory, *as_file]
    first = in_root(root, path, result, tolerate=(errno.ENOENT,), skip_on_success=len(rest))
    return [first, *rest]


def write_file(path: str, text: str, *, template: bool = False,
               tolerate: tuple[int, ...] = (), otherwise: str = "") -> list[Call]:  # fmt: skip
    """Write `text` into the existing file `path` of the host (or of procfs) in one write(2).

    `otherwise`: what it means when that is refused.
    """
    file = Cell("file")
    data = text.encode()
    return [
        Call(
            "openat",
            (CWD, Text(path, template=template), flags("open", c.O_WRONLY | c.O_CLOEXEC)),
            result=file,
            tolerate=tolerate,
            skip_on_error=2,
        ),
        Call("write", (file, Data(data, repr(text)), len(data)), tolerate=tolerate,
             otherwise=otherwise),
        close(file),
    ]  # fmt: skip


def attach(mount: Cell | Flags, target: Cell | Flags) -> Call:
    """Place the detached `mount` on `target`, both by descriptor (move_mount(2))."""
    how = c.MOVE_MOUNT_F_EMPTY_PATH | c.MOVE_MOUNT_T_EMPTY_PATH
    return Call("move_mount", (mount, EMPTY, target, EMPTY, flags("move_mount", how)))


def set_attributes(
    mount: Cell | Flags,
    set_bits: int,
    clear_bits: int = 0,
    propagation: int = 0,
    *,
    recursive: bool = False,
) -> Call:
    """Change the attributes of `mount` (mount_setattr(2))."""
    attributes = struct.pack("=QQQQ", set_bits, clear_bits, propagation, 0)
    parts = []
    if set_bits or not (clear_bits or propagation):
        parts.append("+" + show_flags("mount_attr", set_bits))
    if clear_bits:
        parts.append("-" + show_flags("mount_attr", clear_bits))
    if propagation:
        parts.append(show_flags("mount", propagation))
    at = c.AT_EMPTY_PATH | (c.AT_RECURSIVE if recursive else 0)
    shown = "{" + ", ".join(parts) + "}"
    return Call(
        "mount_setattr", (mount, EMPTY, flags("at", at), Data(attributes, shown), len(attributes))
    )


def clone_tree(path: str, result: Cell, *, recursive: bool) -> Call:
    """A detached copy of what is mounted at the host's `path` (open_tree(2))."""
    how = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | (c.AT_RECURSIVE if recursive else 0)
    return Call("open_tree", (CWD, Text(path), flags("open_tree", how)), result=result)


def new_filesystem(
    kind: str, source: str, options: tuple[str, ...], attributes: int, result: Cell
) -> list[Call]:
    """A new, detached filesystem instance (fsopen(2), fsconfig(2), fsmount(2))."""
    context = Cell("context")
    calls = [
        Call("fsopen", (Text(kind), Flags(1, "FSOPEN_CLOEXEC")), result=context),
        configure(context, "source", source),
    ]
    calls += [configure(context, *configured(option)) for option in options]
    create = Flags(c.FSCONFIG_CMD_CREATE, "FSCONFIG_CMD_CREATE")
    return [
        *calls,
        Call("fsconfig", (context, create, 0, 0, 0)),
        Call(
            "fsmount",
            (context, Flags(1, "FSMOUNT_CLOEXEC"), flags("mount_attr", attributes)),
            result=result,
        ),
        close(context),
    ]


def context(label: str | None) -> tuple[str, ...]:
    """The option by which SELinux knows the files of a new filesystem, if there is a label."""
    # quoted: a label's categories have commas between them
    return (f'context="{label}"',) if label else ()


def configured(option: str) -> tuple[str, str | None]:
    """(name, value or None) of a filesystem's option; without the quotes that mount(2) wants around
    a label with commas in it."""
    key, given, value = option.partition("=")
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return key, value if given else None


def configure(context: Cell, key: str, value: str | None) -> Call:
    """One option of a filesystem in the making, or in the changing (fsconfig(2))."""
    if value is None:
        command = Flags(c.FSCONFIG_SET_FLAG, "FSCONFIG_SET_FLAG")
        return Call("fsconfig", (context, command, Text(key), 0, 0))
    return Call("fsconfig", (context, SET_STRING, Text(key), Text(value), 0))


def hand_over(word: bytes, *held: Cell) -> list[Call]:
    """Ask the runtime to do something with descriptors of this process, and wait until it has.

    `word` is one byte that says what, and its argument; the runtime answers with one byte, or ends
    this process.
    """
    count = len(held)
    shown_word = repr(word.decode("utf-8", "replace"))
    said = Data(word, shown_word)
    # struct msghdr with one iovec and one SCM_RIGHTS control message (cmsg(3))
    shown = ", ".join(f"<{one.name}>" for one in held)
    control = Data(
        struct.pack(f"=Qii{-(-count // 2) * 8}x", 16 + 4 * count, 1, 1), f"{{SCM_RIGHTS, {shown}}}",
        cells=tuple((16 + 4 * index, 4, one) for index, one in enumerate(held)),
    )  # fmt: skip
    space = 16 + (4 * count + 7) // 8 * 8
    vector = Data(struct.pack("=QQ", 0, len(word)), pointers=((0, said),))
    header = Data(
        struct.pack("=QIxxxxQQQQI4x", 0, 0, 0, 1, 0, space, 0),
        f"{{{shown_word}, SCM_RIGHTS [{shown}]}}",
        pointers=((16, vector), (32, control)),
    )
    return [
        Call("sendmsg", (SYNC, header, 0), expect=len(word)),
        Call("read", (SYNC, Data(b"\0", "<gate>"), 1), expect=1),
    ]


def quote(word: str) -> str:
    """`word` as one word of POSIX sh."""
    return "'" + word.replace("'", "'\\''") + "'"


def inside(path: str) -> str:
    """The shell's word for the container's `path`, before it has the new root."""
    return '"$rootfs"' + quote("/" + path.strip("/"))
