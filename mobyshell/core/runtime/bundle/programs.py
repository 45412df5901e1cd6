"""A root filesystem from programs of this machine: each with its loader and libraries, or, if it
is a script, with its interpreter. Links are kept, so that paths inside are as they are outside.

Programs are read, never executed. What a program loads later by itself (dlopen(3): plugins, the
modules of an interpreter) is not found by reading it, and not copied; but what glibc itself loads
(name services, the unwinder of threads) and the locale C.UTF-8 come along with it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from mobyshell.core.errors import InvalidSpec, NotFound, UsageError
from mobyshell.core.runtime.bundle.elf import Elf, ElfError, read_elf

Fill: TypeAlias = Callable[[Path, str, Callable[[str], None]], str | None]
"""(rootfs, the words after the source's kind, who takes notices) → the shell in it, if any."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# where loaders look without being told (ld.so(8)); Debian's multiarch directories come from ld.so.conf
_STANDARD = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_CACHE = "/etc/ld.so.cache"

# what glibc loads when it is asked: getaddrinfo(3) and getpwnam(3) by nsswitch.conf(5),
# pthread_exit(3) for unwinding; parts of it are in libc.so.6 since 2.34
_GLIBC = "libc.so.6"
_LATER = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1")
_LOCALE = "/usr/lib/locale/C.utf8"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"

_EVERYDAY = (
    "sh", "cat", "chmod", "cp", "cut", "date", "df", "dd", "echo", "env", "false", "find", "grep",
    "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mount", "mv", "printf", "ps", "pwd",
    "rm", "rmdir", "sed", "sleep", "sort", "stty", "tail", "test", "touch", "tr", "true", "tty",
    "umount", "uname", "wc",
)  # fmt: skip

_SHELLS = ("bash", "sh", "dash", "ash", "zsh")


def fill(rootfs: Path, words: str, notice: Callable[[str], None]) -> str | None:
    """Copy the programs `words` (names or absolute paths, with commas between) into `rootfs`."""
    copier = _Copier(rootfs, _library_paths())
    names = [word for word in words.split(",") if word]
    if not names:
        raise UsageError("no program is named", hint="--from host:sh,ls,cat")
    for name in names:
        path = name if name.startswith("/") else shutil.which(name, path=_PATH)
        if path is None or not os.path.isfile(path):
            raise NotFound(f"no program {name} on this machine", hint="name one that is in PATH")
        copier.program(os.path.normpath(path))
    copier.finish()
    # bare if PATH finds it inside, as it did here
    by_base = {os.path.basename(one): one for one in reversed(names)}
    return next((by_base[shell] for shell in _SHELLS if shell in by_base), names[0])


def make_directory(path: Path) -> None:
    """mkdir -p with the usual mode, whatever the umask."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir()
        path.chmod(0o755)


def usual() -> str:
    """The source for a first bundle of this machine's everyday programs, where it has no busybox."""
    found = [name for name in _EVERYDAY if shutil.which(name, path=_PATH)]
    return f"host:{','.join(found)}"


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
        self._by_conf: set[str] = set()

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
        if os.path.basename(path) == _GLIBC:
            self._glibc(elf, path)
        if elf.interpreter is not None:
            self.program(elf.interpreter)
        for name in elf.needed:
            self.program(self._library(name, elf, path))

    def _glibc(self, elf: Elf, path: str) -> None:
        """What glibc will load by itself, where it comes as such libraries."""
        for name in _LATER:
            try:
                found = self._library(name, elf, path)
            except NotFound:
                continue
            self.program(found)
        if os.path.isdir(_LOCALE) and _LOCALE not in self._done:
            self._done.add(_LOCALE)
            for directory, _, names in os.walk(_LOCALE):
                for name in sorted(names):
                    self._file(os.path.join(directory, name))
        configuration = self._rootfs / "etc" / "nsswitch.conf"
        if not os.path.lexists(configuration):
            make_directory(configuration.parent)
            configuration.write_text(_NSSWITCH)
            configuration.chmod(0o644)

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
                if directory not in elf.paths and directory not in _STANDARD:
                    self._by_conf.add(candidate)
                return candidate
        raise NotFound(f"{wanted_by} needs the library {name}, which is not on this machine",
                       hint="install it, or leave the program out")  # fmt: skip

    def _script(self, path: str) -> None:
        with open(path, "rb") as file:
            first = file.readline(256)
        if first.startswith(b"\x7fELF"):
            raise InvalidSpec(f"{path} is a damaged program", hint="leave it out")
        if not first.startswith(b"#!"):
            return
        words = os.fsdecode(first[2:].strip()).split()
        if not words:
            return
        if not os.path.isfile(words[0]):
            raise NotFound(f"{path} is a script for {words[0]}, which is not on this machine",
                           hint="install it, or leave the script out")  # fmt: skip
        self.program(words[0])
        if os.path.basename(words[0]) == "env":
            # env [-S] [NAME=VALUE…] PROGRAM
            named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
            found = shutil.which(named[0], path=_PATH) if named else None
            if found is not None:
                self.program(found)

    def finish(self) -> None:
        """Both names of what a merged /usr has under two, and the loader's cache if it is needed."""
        for name in ("bin", "sbin", "lib", "lib64"):
            inside = self._rootfs / name
            if os.path.islink(f"/{name}") and not os.path.lexists(inside):
                inside.symlink_to(os.readlink(f"/{name}"))
        # a library may lie where the loader would not look without it
        if self._by_conf and os.path.isfile(_CACHE):
            self._file(_CACHE)

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
                    times = os.lstat(current)
                    os.utime(
                        inside, ns=(times.st_atime_ns, times.st_mtime_ns), follow_symlinks=False
                    )
                rest = path[len(current) :]
                absolute = os.path.normpath(os.path.join(os.path.dirname(current), target))
                self._file(absolute + rest)
                return
            if os.path.isdir(current):
                if not inside.is_dir():
                    inside.mkdir()
                    # as outside, but its maker can fill it
                    inside.chmod(os.stat(current).st_mode & 0o1777 | 0o700)
            elif not os.path.lexists(inside):
                # neither set-uid bits nor file capabilities: they are the host's grants
                shutil.copyfile(current, inside)
                found = os.stat(current)
                inside.chmod(found.st_mode & 0o777 | 0o400)
                os.utime(inside, ns=(found.st_atime_ns, found.st_mtime_ns))
