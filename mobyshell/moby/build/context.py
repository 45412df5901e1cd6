"""The files that a build may copy: a directory of the user's, or the tree of another stage.

Owns which of them there are, and that none lies outside: paths are looked up beneath the directory,
links that lead out of it lead nowhere. `.dockerignore` leaves files out.
"""

from __future__ import annotations

import fnmatch
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
from mobyshell.core.store.stack import Stack

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
    """Where files come from."""

    def match(self, pattern: str) -> list[str]:
        """The paths that a pattern names, sorted."""
        ...

    def items(self, path: str) -> Iterator[Item]:
        """What is at `path`, itself first, directories before what is in them, by name. NotFound."""
        ...

    def read(self, place: str) -> Iterator[bytes]:
        """The content of a file."""
        ...


def digest_of(source: Source, paths: tuple[str, ...]) -> str:
    """What a step depends on that copies these: names, modes, owners of stages, content. Times are
    left out: a fresh checkout is the same build."""
    summary = hashlib.sha256()
    for pattern in paths:
        for path in source.match(pattern):
            for item in source.items(path):
                mode = item.found.st_mode
                told = [pattern, path, item.path, mode, item.target]
                summary.update(json.dumps(told).encode())
                if stat.S_ISREG(mode):
                    for piece in source.read(item.place):
                        summary.update(piece)
                summary.update(b"\0")
    return summary.hexdigest()


class Directory:
    """A directory of the user's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._top = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=str(path)) from None
        self._ignored = _ignored(self._top)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._top)

    def match(self, pattern: str) -> list[str]:
        wanted = posixpath.normpath("/" + pattern).lstrip("/") or "."
        if not any(ch in wanted for ch in "*?["):
            return [wanted]
        found = [item.path for item in self.items(".") if item.path and _matches(item.path, wanted)]
        if not found:
            raise NotFound(f"nothing in {self._path} is named {pattern:.100}")
        return sorted(found)

    def items(self, path: str) -> Iterator[Item]:
        wanted = posixpath.normpath(path)
        if wanted != "." and self._leaves_out(wanted):
            raise NotFound(f"{path:.100} is left out by .dockerignore")
        try:
            fd = open_in_root(self._top, wanted, os.O_PATH)
        except SyscallFailed:
            raise NotFound(f"there is no {path:.100} in {self._path}") from None
        try:
            yield from self._walk(fd, "", wanted if wanted != "." else "")
        finally:
            os.close(fd)

    def _walk(self, fd: int, path: str, place: str) -> Iterator[Item]:
        found = os.fstat(fd)
        target = os.readlink("", dir_fd=fd) if stat.S_ISLNK(found.st_mode) else ""
        yield Item(path, place, found, target)
        if not stat.S_ISDIR(found.st_mode):
            return
        for name in sorted(os.listdir(f"/proc/self/fd/{fd}")):
            below = posixpath.join(place, name)
            if self._leaves_out(below):
                continue
            child = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            try:
                yield from self._walk(child, posixpath.join(path, name), below)
            finally:
                os.close(child)

    def read(self, place: str) -> Iterator[bytes]:
        fd = open_in_root(self._top, place, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while piece := os.read(fd, _PIECE):
                yield piece
        finally:
            os.close(fd)

    def _leaves_out(self, path: str) -> bool:
        out = False
        for pattern, back in self._ignored:
            parts = path.split("/")
            beginnings = ("/".join(parts[: count + 1]) for count in range(len(parts)))
            if any(_matches(one, pattern) for one in beginnings):
                out = not back
        return out


class Tree:
    """The tree of another stage, or of an image."""

    def __init__(self, stack: Stack, name: str) -> None:
        self._stack, self._name = stack, name

    def match(self, pattern: str) -> list[str]:
        wanted = posixpath.normpath("/" + pattern)
        if not any(ch in wanted for ch in "*?["):
            return [wanted]
        top = posixpath.dirname(wanted.split("*")[0].split("?")[0].split("[")[0]) or "/"
        found = [item.place for item in self.items(top) if _matches(item.place[1:], wanted[1:])]
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
        fd = self._stack.open(place, follow=False)
        try:
            while piece := os.read(fd, _PIECE):
                yield piece
        finally:
            os.close(fd)


def _ignored(top: int) -> list[tuple[str, bool]]:
    """The patterns of .dockerignore: (pattern, does it bring back)."""
    try:
        fd = open_in_root(top, ".dockerignore", os.O_RDONLY | os.O_NONBLOCK)
    except SyscallFailed:
        return []
    try:
        text = os.read(fd, _PIECE).decode("utf-8", "replace")
    finally:
        os.close(fd)
    found = []
    for line in text.splitlines():
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        back = word.startswith("!")
        pattern = posixpath.normpath("/" + word.removeprefix("!").strip()).lstrip("/")
        if pattern:
            found.append((pattern, back))
    return found


def _matches(path: str, pattern: str) -> bool:
    """Go's filepath.Match with `**`: `*` does not pass a slash, `**` passes any number."""
    mine, theirs = path.split("/"), pattern.split("/")

    def fits(at: int, to: int) -> bool:
        if to == len(theirs):
            return at == len(mine)
        if theirs[to] == "**":
            return any(fits(one, to + 1) for one in range(at, len(mine) + 1))
        return at < len(mine) and fnmatch.fnmatchcase(mine[at], theirs[to]) and fits(at + 1, to + 1)

    return fits(0, 0)
