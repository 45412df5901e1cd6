"""The files that a build may copy: a directory of the user's, or the tree of another stage.

Owns which of them there are, and that none lies outside: paths are looked up beneath the directory,
links that lead out of it lead nowhere. `.dockerignore` leaves files out.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mobyshell.core.errors import NotFound, SyscallFailed
from mobyshell.core.linux.paths import open_in_root
from mobyshell.core.store.layers.attributes import LISTED
from mobyshell.core.store.stack import Stack
from mobyshell.moby.build.patterns import Patterns, is_pattern, matches

CAPABILITY = "security.capability"

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Item:
    """A file to be copied. `path`: below what was named ("" for itself); `place`: where it is in the
    source."""

    path: str
    place: str
    found: os.stat_result
    target: str = ""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.found.st_mode)


class Source(Protocol):
    """Where files come from. `keeps_owners`: what they are copied to belongs to whom they do."""

    @property
    def keeps_owners(self) -> bool: ...

    def match(self, pattern: str) -> list[str]:
        """The paths that a pattern names, sorted."""
        ...

    def items(self, path: str) -> Iterator[Item]:
        """What is at `path`, itself first, directories before what is in them, by name. NotFound."""
        ...

    def read(self, place: str) -> Iterator[bytes]:
        """The content of a file."""
        ...

    def attributes(self, place: str) -> dict[str, bytes]:
        """The extended attributes of a file that its copy has, too."""
        ...


def digest_of(source: Source, paths: tuple[str, ...], excluded: tuple[str, ...] = ()) -> str:
    """What a step depends on that copies these: names, modes, owners of stages, attributes, content.
    Times are left out: a fresh checkout is the same build."""
    summary = hashlib.sha256()
    left_out = Patterns(excluded)
    for pattern in paths:
        for path in source.match(pattern):
            for item in kept(source.items(path), left_out):
                found = item.found
                owner = [found.st_uid, found.st_gid] if source.keeps_owners else []
                told = [pattern, path, item.path, found.st_mode, item.target, *owner]
                summary.update(json.dumps(told).encode())
                if stat.S_ISREG(found.st_mode):
                    for name, value in sorted(source.attributes(item.place).items()):
                        summary.update(json.dumps([name, value.hex()]).encode())
                    for piece in source.read(item.place):
                        summary.update(piece)
                summary.update(b"\0")
    return summary.hexdigest()


def kept(items: Iterator[Item], left_out: Patterns) -> Iterator[Item]:
    """Without what the patterns leave out: of a directory's, by their paths in it; of a file, by its
    name. Directories that are left out are kept for what is brought back below them."""
    waiting: list[Item] = []
    for item in items:
        path = item.path or ("" if item.is_directory else posixpath.basename(item.place))
        if not path or not left_out.leave_out(path):
            above = [one for one in waiting if item.path.startswith(f"{one.path}/")]
            waiting = [one for one in waiting if one not in above]
            yield from above
            yield item
        elif item.is_directory and left_out.bring_back:
            waiting.append(item)


class Directory:
    """A directory of the user's. `ignore`: the file with the patterns of what is left out, instead of
    its .dockerignore."""

    keeps_owners = False

    def __init__(self, path: Path, ignore: Path | None = None) -> None:
        self._path = path
        try:
            self._top = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=str(path)) from None
        self._ignored = Patterns(_lines(self._top) if ignore is None else _lines_of(ignore))

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._top)

    def match(self, pattern: str) -> list[str]:
        wanted = posixpath.normpath("/" + pattern).lstrip("/") or "."
        if not is_pattern(wanted):
            return [wanted]
        found = [item.path for item in self.items(".") if item.path and matches(item.path, wanted)]
        if not found:
            raise NotFound(f"nothing in {self._path} is named {pattern:.100}")
        return sorted(found)

    def items(self, path: str) -> Iterator[Item]:
        wanted = posixpath.normpath("/" + path).lstrip("/") or "."
        try:
            fd = open_in_root(self._top, wanted, os.O_PATH)
        except SyscallFailed:
            raise NotFound(f"there is no {path:.100} in {self._path}") from None
        nothing = True
        try:
            for item in self._walk(fd, "", wanted if wanted != "." else ""):
                nothing = False
                yield item
        finally:
            os.close(fd)
        if nothing:
            raise NotFound(f"{path:.100} is left out by .dockerignore")

    def _walk(self, fd: int, path: str, place: str) -> Iterator[Item]:
        found = os.fstat(fd)
        target = os.readlink("", dir_fd=fd) if stat.S_ISLNK(found.st_mode) else ""
        itself = Item(path, place, found, target)
        waits = bool(place) and self._ignored.leave_out(place)
        if not waits:
            yield itself
        if not stat.S_ISDIR(found.st_mode) or (waits and not self._ignored.bring_back):
            return
        for name in sorted(os.listdir(f"/proc/self/fd/{fd}")):
            child = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                for item in self._walk(
                    child, posixpath.join(path, name), posixpath.join(place, name)
                ):
                    if waits:  # a directory that is left out, and something in it is not
                        yield itself
                        waits = False
                    yield item
            finally:
                os.close(child)

    def read(self, place: str) -> Iterator[bytes]:
        yield from _pieces(open_in_root(self._top, place, os.O_RDONLY | os.O_NONBLOCK))

    def attributes(self, place: str) -> dict[str, bytes]:
        fd = open_in_root(self._top, place, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return _attributes(fd, (CAPABILITY,))  # what else there is is the user's own notes
        finally:
            os.close(fd)


class Tree:
    """The tree of another stage, or of an image."""

    keeps_owners = True

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack, self._name = stack, name

    def match(self, pattern: str) -> list[str]:
        wanted = posixpath.normpath("/" + pattern)
        if not is_pattern(wanted):
            return [wanted]
        top = posixpath.dirname(wanted.split("*")[0].split("?")[0].split("[")[0]) or "/"
        found = [item.place for item in self.items(top) if matches(item.place[1:], wanted[1:])]
        if not found:
            raise NotFound(f"nothing in {self._name} is named {pattern:.100}")
        return sorted(found)

    def items(self, path: str) -> Iterator[Item]:
        entry = self._stack.stat(path)
        yield Item("", path, entry.found, entry.target)
        if not entry.is_directory:
            return
        pending = [("", path)]
        while pending:
            above, place = pending.pop(0)
            for one in self._stack.ls(place):
                below = posixpath.join(place, one.name)
                yield Item(posixpath.join(above, one.name), below, one.found, one.target)
                if one.is_directory:
                    pending.append((posixpath.join(above, one.name), below))

    def read(self, place: str) -> Iterator[bytes]:
        yield from _pieces(self._stack.open(place, follow=False))

    def attributes(self, place: str) -> dict[str, bytes]:
        fd = self._stack.open(place, follow=False)
        try:
            return _attributes(fd, LISTED)
        finally:
            os.close(fd)


def _pieces(fd: int) -> Iterator[bytes]:
    """All of an open file, which is closed then."""
    try:
        while piece := os.read(fd, _PIECE):
            yield piece
    finally:
        os.close(fd)


def _attributes(fd: int, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """Those whose names begin so, but for what overlayfs notes."""
    try:
        return {name: os.getxattr(fd, name) for name in os.listxattr(fd)
                if name.startswith(wanted) and not name.startswith("user.overlay.")}  # fmt: skip
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise SyscallFailed.of(error, "getxattr") from None


def _lines(top: int) -> list[str]:
    """Those of .dockerignore."""
    try:
        fd = open_in_root(top, ".dockerignore", os.O_RDONLY | os.O_NONBLOCK)
    except SyscallFailed:
        return []
    with open(fd, "rb") as file:
        return file.read(_PIECE).decode("utf-8", "replace").splitlines()


def _lines_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return file.read(_PIECE).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(path)) from None
