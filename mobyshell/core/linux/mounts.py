"""The mount table of a process (proc_pid_mountinfo(5)). Owns the parsing of it."""

from __future__ import annotations

from mobyshell.core.linux import procfs
from mobyshell.core.values import value


@value
class MountInfo:
    """One line of mountinfo. `root` is what of the filesystem is mounted, `optional` tells how
    mount events travel (`shared:1`, `master:2`)."""

    mount_id: int
    parent_id: int
    device: str
    root: str
    mount_point: str
    options: tuple[str, ...]
    optional: tuple[str, ...]
    fstype: str
    source: str
    super_options: tuple[str, ...]


def unescape(text: str) -> str:
    """Undo the kernel's octal escapes (space, tab, newline, backslash: mangle_path)."""
    if "\\" not in text:
        return text
    parts = text.split("\\")
    out = [parts[0]]
    for part in parts[1:]:
        code = part[:3]
        if len(code) == 3 and all(digit in "01234567" for digit in code):
            out.append(chr(int(code, 8)) + part[3:])
        else:
            out.append("\\" + part)
    return "".join(out)


def parse_line(line: str) -> MountInfo:
    """The mount that a line of mountinfo describes."""
    left, _, right = line.partition(" - ")
    head, tail = left.split(" "), right.rstrip("\n").split(" ")
    return MountInfo(
        mount_id=int(head[0]),
        parent_id=int(head[1]),
        device=head[2],
        root=unescape(head[3]),
        mount_point=unescape(head[4]),
        options=tuple(head[5].split(",")),
        optional=tuple(head[6:]),
        fstype=unescape(tail[0]),
        source=unescape(tail[1]),
        super_options=tuple(tail[2].split(",")) if len(tail) > 2 else (),
    )


def read_mountinfo(pid: int) -> tuple[MountInfo, ...]:
    """The mounts that process `pid` sees, in the kernel's order. NotFound if it is gone."""
    text = procfs.read_file(pid, "mountinfo").decode("utf-8", "surrogateescape")
    return tuple(parse_line(line) for line in text.split("\n") if line)


def whole(pid: int, *kinds: str) -> tuple[str, ...]:
    """The mount points of filesystems of `kinds` that are mounted from their roots, as process
    `pid` sees them."""
    found = read_mountinfo(pid)
    return tuple(one.mount_point for one in found if one.fstype in kinds and one.root == "/")
