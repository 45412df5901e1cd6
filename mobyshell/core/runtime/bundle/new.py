"""Making a bundle: all of it, or nothing.

It is built beside its place under a name that begins with `.mobyshell-new-`, and renamed when it
is complete; what a killed build left there is cleared by the next one. Who builds holds a lock on
the directory: that, and not its age, tells a slow build from a dead one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mobyshell.core.errors import AlreadyExists, NotFound, SyscallFailed, UsageError
from mobyshell.core.linux import constants as c
from mobyshell.core.linux import paths
from mobyshell.core.linux.trees import remove_tree
from mobyshell.core.oci import IDMapping, Spec, default_spec, dump_spec, read_spec, with_process
from mobyshell.core.runtime.bundle import busybox, programs, tar
from mobyshell.core.runtime.bundle.remove import UNFINISHED

SOURCES = ("busybox", "host:PROG,…", "tar:FILE")
"""The forms of `--from`."""

Notice = Callable[[str], None]
"""Takes one line about something that the bundle lacks, and its source had."""

_GRACE = 60.0


def default_source() -> tuple[str, str]:
    """What a bundle is made of that nobody said a source for, and a line about it ("" for the
    usual): busybox, or this machine's everyday programs where there is none that stands alone."""
    try:
        busybox.find()
    except NotFound as error:
        return programs.usual(), f"{error.message}: made of programs of this machine instead"
    return "busybox", ""


# what programs expect to find, whatever the image is (hier(7)); modes as everywhere
_DIRECTORIES = (
    ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("proc", 0o555), ("root", 0o700),
    ("run", 0o755), ("sys", 0o555), ("tmp", 0o1777), ("usr", 0o755), ("var", 0o755),
    ("var/tmp", 0o1777),
)  # fmt: skip

_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = b"root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"


def _ignore(notice: str) -> None:
    """Nobody wants to know."""


def new_bundle(
    directory: str | os.PathLike[str],
    source: str = "busybox",
    *,
    rootless: bool | None = None,
    config: str | os.PathLike[str] | None = None,
    notice: Notice = _ignore,
) -> Path:
    """Make the bundle `directory` from `source` and return its absolute path.

    `source` is `busybox` (a static one of this machine), `host:PROG,…` (programs of this machine
    with the libraries they need) or `tar:FILE`. `rootless` makes a config.json for the calling
    unprivileged user (default: if the caller is not root). `config` is a file to be its config.json
    instead; where that maps one user or group, it becomes the caller's. AlreadyExists if there is
    something at `directory`, UsageError for another source, NotFound for what is missing on this machine,
    InvalidSpec for a damaged archive.
    """
    place = Path(os.path.abspath(directory))
    fill, words = _source(source)
    given = read_spec(config) if config is not None else None
    if not place.name or place.name.startswith(UNFINISHED):
        raise UsageError(f"not a name for a bundle: {os.fspath(directory)!r}")
    if os.path.lexists(place) and not _is_empty(place):
        raise _taken(directory)
    if not place.parent.is_dir():
        raise NotFound(f"no directory {place.parent}", hint="make it first")
    unprivileged = os.geteuid() != 0 if rootless is None else rootless
    _clear_abandoned(place.parent)
    building = place.parent / f"{UNFINISHED}{os.urandom(6).hex()}"
    lock = -1
    try:
        building.mkdir(mode=0o755)
        lock = os.open(building, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        rootfs = building / "rootfs"
        for made in (building, rootfs):
            made.mkdir(exist_ok=True)
            made.chmod(0o755)  # whatever the umask: other users' containers read it too
        shell = fill(rootfs, words, notice)
        _furnish(rootfs)
        if given is not None:
            _write(building, _for_caller(given))
        else:
            _write_config(building, default_spec(rootless=unprivileged), shell)
        os.rename(building, place)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and error.filename2 is not None:
            raise _taken(directory) from None  # another build was faster
        raise SyscallFailed.of(error, "making the bundle") from None
    finally:
        if lock >= 0:
            os.close(lock)
        _remove(building)
    return place


def _is_empty(place: Path) -> bool:
    try:
        return not place.is_symlink() and not any(place.iterdir())
    except OSError:
        return False


def _taken(directory: str | os.PathLike[str]) -> AlreadyExists:
    return AlreadyExists(f"{os.fspath(directory)} exists already", hint="choose another name")


def _source(source: str) -> tuple[programs.Fill, str]:
    kind, _, words = source.partition(":")
    if source == "busybox":
        return busybox.fill, ""
    if kind == "host" and words:
        return programs.fill, words
    if kind == "tar" and words:
        return tar.fill, words
    raise UsageError(f"unknown source {source!r}", hint=f"one of {', '.join(SOURCES)}")


def _furnish(rootfs: Path) -> None:
    """Add what every root filesystem has, where it has not; through no link of a stranger."""
    root = os.open(rootfs, c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name, mode in _DIRECTORIES:
            _add_directory(root, name, mode)
        for name, text in (("passwd", _PASSWD), ("group", _GROUP)):
            _add_file(root, "etc", name, text)
    finally:
        os.close(root)


def _parent(root: int, path: str) -> int | None:
    """A descriptor of the directory `path` below `root`; None if an image has something else there."""
    try:
        return paths.open_beneath(root, path or ".", c.O_PATH | os.O_DIRECTORY)
    except SyscallFailed:
        return None


def _add_directory(root: int, path: str, mode: int) -> None:
    parent, _, name = path.rpartition("/")
    directory = _parent(root, parent)
    if directory is None:
        return
    try:
        os.mkdir(name, 0o700, dir_fd=directory)
        made = paths.open_beneath(directory, name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchmod(made, mode)
        finally:
            os.close(made)
    except FileExistsError:
        pass
    finally:
        os.close(directory)


def _add_file(root: int, parent: str, name: str, text: bytes) -> None:
    directory = _parent(root, parent)
    if directory is None:
        return
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(name, flags, 0o644, dir_fd=directory)
    except FileExistsError:
        return
    finally:
        os.close(directory)
    try:
        os.fchmod(fd, 0o644)
        os.write(fd, text)
    finally:
        os.close(fd)


def _write_config(building: Path, spec: Spec, shell: str | None) -> None:
    args = (shell,) if shell else None
    _write(building, _without_warnings(with_process(spec, args=args)))


def _write(building: Path, spec: Spec) -> None:
    path = building / "config.json"
    path.write_text(dump_spec(spec) + "\n")
    path.chmod(0o644)


def _for_caller(spec: Spec) -> Spec:
    """A map of one id is of whoever makes the bundle: a recipe cannot know the number."""
    linux = spec.linux
    if linux is None or os.geteuid() == 0:
        return spec

    def mine(maps: tuple[IDMapping, ...] | None, id: int) -> tuple[IDMapping, ...] | None:
        if maps is None or len(maps) != 1 or maps[0].size != 1:
            return maps
        return (replace(maps[0], host_id=id),)

    changed = replace(linux, uid_mappings=mine(linux.uid_mappings, os.geteuid()),
                      gid_mappings=mine(linux.gid_mappings, os.getegid()))  # fmt: skip
    return replace(spec, linux=changed)


def _without_warnings(spec: Spec) -> Spec:
    """runc's default asks for ambient capabilities that it does not make inheritable, which no
    kernel raises: the same container without them, and without a warning for each."""
    process = spec.process
    if process is None or process.capabilities is None:
        return spec
    capabilities = replace(process.capabilities, ambient=None)
    return replace(spec, process=replace(process, capabilities=capabilities))


def _clear_abandoned(parent: Path) -> None:
    """Remove what builds left that were killed: nobody holds their lock."""
    try:
        names = [name for name in os.listdir(parent) if name.startswith(UNFINISHED)]
    except OSError:
        return
    for name in names:
        path = parent / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # a new one is not locked yet for a moment: then it is young, and nothing is in it
            if time.time() - os.fstat(fd).st_mtime > _GRACE or os.listdir(fd):
                _remove(path)
        except OSError:
            continue
        finally:
            os.close(fd)


def _remove(path: Path) -> None:
    """Remove a build as far as it goes: what is left will be tried again by the next one."""
    try:
        remove_tree(path)
    except OSError:
        return
