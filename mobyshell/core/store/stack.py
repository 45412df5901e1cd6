"""A stack of layers looked into as overlayfs would show it, without anything being mounted.

Owns the lookup (Documentation/filesystems/overlayfs.rst): the topmost layer that has a name decides;
directories of one name are merged, down to one that is opaque; a whiteout hides what is below.
Layers are a stranger's: each step is taken by the descriptor of the one before, and links lead
nowhere but into the stack. Changes nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence

from mobyshell.core.errors import NotFound, SyscallFailed, Unsupported
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.paths import MOST_LINKS, read_most
from mobyshell.core.values import value

_LOOK = c.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_PREFIXES = ("trusted.overlay.", "user.overlay.")


@value
class Entry:
    """A name in a directory of the stack. `layer` counts from the top: where what is seen lies (of
    a directory: its topmost part)."""

    name: str
    found: os.stat_result
    layer: int
    target: str = ""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.found.st_mode)


class Stack:
    """The trees in `directories`, the topmost first. Holds one descriptor each; close it."""

    def __init__(self, directories: Sequence[str | os.PathLike[str]]) -> None:
        self._tops: list[int] = []
        try:
            for one in directories:
                self._tops.append(os.open(one, c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            self.close()
            raise SyscallFailed.of(error, "open", path=str(error.filename)) from None

    def close(self) -> None:
        """Give the descriptors back."""
        while self._tops:
            os.close(self._tops.pop())

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stat(self, path: str, *, follow: bool = True) -> Entry:
        """What is at `path`. NotFound; SyscallFailed (ELOOP, ENOTDIR)."""
        with _Walk(self._tops, path) as walk:
            return walk.to(path, follow=follow)

    def read(self, path: str, most: int, *, follow: bool = True) -> bytes:
        """At most the first `most` bytes of the regular file at `path`.

        NotFound if there is nothing, SyscallFailed (EINVAL) if it is anything else.
        """
        fd = self.open(path, follow=follow)
        try:
            return read_most(fd, most)
        finally:
            os.close(fd)

    def beneath(self, path: str) -> int | None:
        """An O_PATH descriptor of what a layer upon these would hide, or merge with, by having
        `path`; None if there is nothing. No link is followed: overlayfs merges names."""
        with _Walk(self._tops, path) as walk:
            try:
                return walk.down(path)
            except NotFound:
                return None

    def open(self, path: str, *, follow: bool = True) -> int:
        """A descriptor of the regular file at `path`, for reading; the caller's to close.

        NotFound if there is nothing, SyscallFailed (EINVAL) if it is anything else.
        """
        with _Walk(self._tops, path) as walk:
            entry = walk.to(path, follow=follow)
            if not stat.S_ISREG(entry.found.st_mode):
                raise SyscallFailed("read", errno.EINVAL, path=path, what="not a regular file")
            try:
                return os.open(f"/proc/self/fd/{walk.at[0][1]}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise SyscallFailed.of(error, "openat", path=path) from None

    def ls(self, path: str = "/") -> list[Entry]:
        """The names in the directory at `path`, sorted. NotFound; SyscallFailed (ENOTDIR)."""
        with _Walk(self._tops, path) as walk:
            if not walk.to(path, follow=True).is_directory:
                raise SyscallFailed("getdents64", errno.ENOTDIR, path=path)
            names: dict[str, None] = {}
            for _, fd in walk.at:
                try:
                    with os.scandir(f"/proc/self/fd/{fd}") as entries:
                        names.update((entry.name, None) for entry in entries)
                except OSError as error:
                    raise SyscallFailed.of(error, "openat", path=path) from None
            found = (walk.look(name) for name in sorted(names))
            return [entry for entry in found if entry is not None]


class _Walk:
    """A way through the stack: at each step the parts of one directory, the topmost first."""

    def __init__(self, tops: Sequence[int], path: str) -> None:
        self._path = path
        self._way: list[list[tuple[int, int]]] = [[(i, os.dup(fd)) for i, fd in enumerate(tops)]]

    def __enter__(self) -> _Walk:
        return self

    def __exit__(self, *_: object) -> None:
        while self._way:
            _close(self._way.pop())

    @property
    def at(self) -> list[tuple[int, int]]:
        """(layer, descriptor) of where we are."""
        return self._way[-1]

    def to(self, path: str, *, follow: bool) -> Entry:
        """Go there."""
        parts, links = deque(path.split("/")), 0
        layer, fd = self.at[0]
        entry = Entry("/", os.stat(fd), layer)
        while parts:
            part = parts.popleft()
            if part in ("", "."):
                continue
            if part == "..":
                if len(self._way) > 1:
                    _close(self._way.pop())
                layer, fd = self.at[0]
                entry = Entry(part, os.stat(fd), layer)
                continue
            if not entry.is_directory:
                raise SyscallFailed("openat", errno.ENOTDIR, path=path)
            below, entry = self._step(part)
            last = not any(one not in ("", ".") for one in parts)
            if stat.S_ISLNK(entry.found.st_mode) and (follow or not last):
                _close(below)
                links += 1
                if links > MOST_LINKS:
                    raise SyscallFailed("openat", errno.ELOOP, path=path)
                if entry.target.startswith("/"):
                    while len(self._way) > 1:
                        _close(self._way.pop())
                parts.extendleft(reversed(entry.target.split("/")))
                layer, fd = self.at[0]
                entry = Entry("/", os.stat(fd), layer)
                continue
            self._way.append(below)
        return entry

    def down(self, path: str) -> int:
        """Go there by names alone, and return a descriptor of what is there. NotFound."""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for part in parts:
            if not self.at or not stat.S_ISDIR(os.stat(self.at[0][1]).st_mode):
                raise NotFound(f"there is no {path}")
            self._way.append(self._step(part)[0])
        if not self.at:
            raise NotFound(f"there is no {path}")
        return os.dup(self.at[0][1])

    def look(self, name: str) -> Entry | None:
        """What `name` is here; None if there is nothing."""
        try:
            below, entry = self._step(name)
        except NotFound:
            return None
        _close(below)
        return entry

    def _step(self, name: str) -> tuple[list[tuple[int, int]], Entry]:
        """The parts of `name` in the directory where we are. NotFound if there is nothing."""
        parts: list[tuple[int, int]] = []
        entry: Entry | None = None
        try:
            for layer, fd in self._parts(name):
                found = os.stat(fd)
                directory = stat.S_ISDIR(found.st_mode)
                if _is_whiteout(found) or (parts and not directory):
                    os.close(fd)
                    break
                parts.append((layer, fd))
                if entry is None:
                    link = stat.S_ISLNK(found.st_mode)
                    target = os.readlink("", dir_fd=fd) if link else ""
                    entry = Entry(name, found, layer, target)
                if not directory or _is_opaque(fd, self._path):
                    break
        except BaseException:
            _close(parts)
            raise
        if entry is None:
            raise NotFound(f"there is no {self._path}")
        return parts, entry

    def _parts(self, name: str) -> Iterator[tuple[int, int]]:
        for layer, directory in self.at:
            try:
                yield layer, os.open(name, _LOOK, dir_fd=directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise SyscallFailed.of(error, "openat", path=self._path) from None


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _is_opaque(fd: int, path: str) -> bool:
    """Whether nothing of lower layers shows through. Unsupported where a layer says that what is
    below has another name: this is the kernel's to follow."""
    place = f"/proc/self/fd/{fd}"
    for prefix in _PREFIXES:
        if _xattr(place, f"{prefix}redirect"):
            raise Unsupported(
                f"{path}: a directory was renamed by overlayfs (redirect_dir)",
                hint="mount the snapshot to look into it",
            )
        if _xattr(place, f"{prefix}opaque") == b"y":
            return True
    return False


def _xattr(place: str, name: str) -> bytes:
    try:
        return os.getxattr(place, name)
    except OSError:
        return b""  # none, or none for us


def _close(parts: list[tuple[int, int]]) -> None:
    for _, fd in parts:
        os.close(fd)
