"""A root filesystem from programs of this machine: each with its loader and libraries, or, if it
is a script, with its interpreter. Links are kept, so that paths inside are as they are outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.core.runtime.bundle.elf import Elf, ElfError, read_elf

Fill: TypeAlias = Callable[[Path, str], str | None]
"""(rootfs, the words after the source's kind) → the shell that is in it now, if any."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# where loaders look without being told (ld.so(8)); Debian's multiarch directories come from ld.so.conf
_STANDARD = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")

_SHELLS = ("bash", "sh", "dash", "ash", "zsh")


def fill(rootfs: Path, words: str) -> str | None:
    """Copy the programs `words` (names or absolute paths, with commas between) into `rootfs`."""
    copier = _Copier(rootfs, _library_paths())
    names = [word for word in words.split(",") if word]
    if not names:
        raise UsageError("no program is named", hint="--from host:sh,ls,cat")
    for name in names:
        path = name if name.startswith("/") else shutil.which(name, path=_PATH)
        if path is None or not os.path.isfile(path):
            raise NotFound(f"no program {name} on this machine", hint="name one that is in PATH")
        copier.program(path)
    found = [os.path.basename(one) for one in names]
    return next((shell for shell in _SHELLS if shell in found), names[0])


def _library_paths() -> tuple[str, ...]:
    """The directories of /etc/ld.so.conf, then the standard ones."""
    found: list[str] = []
    _read_conf("/etc/ld.so.conf", found, 0)
    return tuple(dict.fromkeys((*found, *_STANDARD)))


def _read_conf(path: str, found: list[str], depth: int) -> None:
    import glob

    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["include"] and depth < 4:
            for pattern in words[1:]:
                for one in sorted(glob.glob(os.path.join(os.path.dirname(path), pattern))):
                    _read_conf(one, found, depth + 1)
        elif words and words[0].startswith("/"):
            found.append(words[0])


class _Copier:
    def __init__(self, rootfs: Path, libraries: tuple[str, ...]) -> None:
        self._rootfs = rootfs
        self._libraries = libraries
        self._done: set[str] = set()

    def program(self, path: str) -> None:
        """Copy `path` and what it needs. Each file once."""
        if path in self._done:
            return
        self._done.add(path)
        self._file(path)
        try:
            elf = read_elf(path)
        except ElfError:
            self._script(path)
            return
        if elf.interpreter is not None:
            self.program(elf.interpreter)
        for name in elf.needed:
            self.program(self._library(name, elf, path))

    def _library(self, name: str, elf: Elf, wanted_by: str) -> str:
        if "/" in name:
            return name
        for directory in (*elf.paths, *self._libraries):
            candidate = os.path.join(directory, name)
            if not os.path.isfile(candidate):
                continue
            try:
                other = read_elf(candidate)
            except (ElfError, OSError):
                continue
            if (other.bits, other.machine) == (elf.bits, elf.machine):
                return candidate
        raise NotFound(f"{wanted_by} needs the library {name}, which is not on this machine",
                       hint="install it, or leave the program out")  # fmt: skip

    def _script(self, path: str) -> None:
        with open(path, "rb") as file:
            first = file.readline(256)
        if not first.startswith(b"#!"):
            return
        words = os.fsdecode(first[2:].strip()).split()
        if not words:
            return
        self.program(words[0])
        if os.path.basename(words[0]) == "env" and len(words) > 1:
            named = shutil.which(words[-1], path=_PATH)
            if named is not None:
                self.program(named)

    def _file(self, path: str) -> None:
        """Copy `path` to the same place inside, link by link."""
        current = "/"
        for part in path.strip("/").split("/"):
            current = os.path.join(current, part)
            inside = Path(f"{self._rootfs}{current}")
            if os.path.islink(current):
                target = os.readlink(current)
                if not os.path.lexists(inside):
                    inside.symlink_to(target)
                rest = path[len(current) :]
                absolute = os.path.normpath(os.path.join(os.path.dirname(current), target))
                self._file(absolute + rest)
                return
            if os.path.isdir(current):
                inside.mkdir(exist_ok=True)
            elif not os.path.lexists(inside):
                shutil.copy2(current, inside)
                inside.chmod(os.stat(current).st_mode & 0o777 | 0o400)
