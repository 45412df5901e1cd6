"""Trees of files as values, to be compared, and archives as lists of members, to be evil with."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

IMPLIED = "no time"


def look(root: str | os.PathLike[str], *, times: bool = True) -> dict[str, Any]:
    """All of a tree that a layer can say: by path, its kind, attributes and content."""
    found: dict[str, Any] = {}
    inodes: dict[tuple[int, int], str] = {}
    top = Path(root)
    below = [Path(place, name) for place, dirs, files in os.walk(top) for name in (*dirs, *files)]
    for path in (top, *sorted(below)):
        about = path.lstat()
        name = str(path.relative_to(top))
        kind = stat.S_IFMT(about.st_mode)
        content: Any = None
        if kind == stat.S_IFREG:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            content = about.st_rdev
        same = None
        if kind != stat.S_IFDIR and about.st_nlink > 1:
            same = inodes.setdefault((about.st_dev, about.st_ino), name)
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        found[name] = (
            stat.filemode(about.st_mode), about.st_uid, about.st_gid,
            about.st_mtime_ns if times else None, content, same, xattrs,
        )  # fmt: skip
    return found
