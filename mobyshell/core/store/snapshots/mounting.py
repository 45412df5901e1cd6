"""Mounts of snapshots, made: attached to a directory, or nowhere at all.

A detached mount (fsmount(2), open_tree(2)) is reached by its descriptor and is gone when that is
closed, however its holder dies; so looking into a snapshot leaves nothing to unmount. It is of this
process's user and mount namespaces: who is not root there is refused by the kernel.
"""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mobyshell.core.errors import SyscallFailed, Unsupported
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.mount_options import MountOptions, parse_options
from mobyshell.core.linux.syscalls import call
from mobyshell.core.store.snapshots import user_namespace
from mobyshell.core.store.snapshots.idmaps import IdMap, IdMaps
from mobyshell.core.store.snapshots.overlay_options import OverlayOptions, escape
from mobyshell.core.store.snapshots.protocol import Mount

_LONGEST_VALUE = 255
"""Bytes that fsconfig(2) takes in one string (fs/fsopen.c)."""

_UMOUNT_NOFOLLOW = 8


@contextmanager
def opened(mounts: Sequence[Mount]) -> Iterator[int]:
    """A descriptor of the root of what a snapshot's mounts show, mounted nowhere.

    Raises SyscallFailed with what the kernel said; Unsupported for what it cannot do.
    """
    fd = detached(mounts)
    try:
        yield fd
    finally:
        os.close(fd)


def detached(mounts: Sequence[Mount]) -> int:
    """The same, to be closed by the caller. Snapshotters here say one mount each."""
    if len(mounts) != 1 or mounts[0].target:
        raise Unsupported(f"{len(mounts)} mounts for one root", hint="mount them one by one")
    mount = mounts[0]
    maps, words = _taken_apart(mount.options)
    if mount.type == "overlay":
        return _overlay(OverlayOptions.parse(words), maps)
    if mount.type == "bind" or {"bind", "rbind"} & set(words):
        return _bind(mount.source, parse_options(words), maps)
    raise Unsupported(f"a snapshot on {mount.type}", hint="overlay and bind are known here")


def attach(mounts: Sequence[Mount], target: Path, *, trusted: bool = True) -> None:
    """Mount them on the directory `target`, until `detach`. Not `trusted`: the host's users can
    reach it, and are not to get at setuid programs and devices of an image's. SyscallFailed."""
    with opened(mounts) as fd:
        if not trusted:
            _set_attributes(fd, c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV)
        place = os.fsencode(target) + b"\0"
        call("move_mount", fd, b"\0", c.AT_FDCWD, place, c.MOVE_MOUNT_F_EMPTY_PATH,
             path=str(target))  # fmt: skip


def detach(target: Path) -> None:
    """Unmount what `attach` has mounted. SyscallFailed: EBUSY while somebody uses it, EINVAL if
    nothing is mounted there."""
    call("umount2", os.fsencode(target) + b"\0", _UMOUNT_NOFOLLOW, path=str(target),
         what="unmounting")  # fmt: skip


@contextmanager
def mounted(mounts: Sequence[Mount], target: Path) -> Iterator[Path]:
    """Mounted on `target` for a while. If it is in use at the end, it is gone from there at once,
    and with its last user for good."""
    attach(mounts, target)
    try:
        yield target
    finally:
        try:
            detach(target)
        except SyscallFailed as error:
            if error.errno != errno.EBUSY:
                raise
            call("umount2", os.fsencode(target) + b"\0", _UMOUNT_NOFOLLOW | c.MNT_DETACH)


def _taken_apart(options: Sequence[str]) -> tuple[IdMaps, tuple[str, ...]]:
    """containerd's `uidmap=` and `gidmap=`, and the rest."""
    named = {"uidmap": "", "gidmap": ""}
    rest = []
    for option in options:
        name, _, value = option.partition("=")
        if name in named:
            named[name] = value
        else:
            rest.append(option)
    if not any(named.values()):
        return IdMaps(), tuple(rest)
    return IdMaps(IdMap.parse(named["uidmap"]), IdMap.parse(named["gidmap"])), tuple(rest)


def _bind(source: str, options: MountOptions, maps: IdMaps) -> int:
    fd = _clone(source, recursive=options.recursive)
    try:
        if maps:
            _map_ids(fd, maps)
        if options.attr_set:
            _set_attributes(fd, options.attr_set)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _clone(source: str, *, recursive: bool = False) -> int:
    how = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | (c.AT_RECURSIVE if recursive else 0)
    return call("open_tree", c.AT_FDCWD, os.fsencode(source) + b"\0", how, path=source)


def _set_attributes(fd: int, on: int, namespace: int = 0) -> None:
    attributes = struct.pack("=QQQQ", on, 0, 0, namespace)
    call("mount_setattr", fd, b"\0", c.AT_EMPTY_PATH, attributes, len(attributes))


def _map_ids(fd: int, maps: IdMaps) -> None:
    with user_namespace.made(maps) as namespace:
        try:
            _set_attributes(fd, c.MOUNT_ATTR_IDMAP, namespace)
        except SyscallFailed as error:
            if error.errno == errno.EINVAL:
                raise Unsupported(
                    "the store's file system has no id-mapped mounts",
                    hint="the snapshotter `native` copies the files with their ids changed",
                ) from error
            raise


def one_by_one() -> bool:
    """Whether overlayfs takes each lower directory by itself, as `lowerdir+`: Linux 6.8."""
    numbers = os.uname().release.split("-")[0].split(".")
    return tuple(int(one) for one in numbers[:2] if one.isdecimal()) >= (6, 8)


def _overlay(options: OverlayOptions, maps: IdMaps) -> int:
    """fsopen(2) has room for any number of layers and needs no quoting, unlike mount(2), whose
    options are one page."""
    if not one_by_one() and not maps:
        return _overlay_of_one_string(options)
    with ExitStack() as held:
        context = call("fsopen", b"overlay\0", c.FSOPEN_CLOEXEC)
        held.callback(os.close, context)
        _set(context, "source", "overlay")
        for word in options.words:
            if word in ("ro", "rw"):
                continue
            name, _, value = word.partition("=")
            _set(context, name, value or None)
        for name, path in (("workdir", options.work), ("upperdir", options.upper)):
            if path:
                _set(context, name, _short(path, held))
        _add_lowers(context, options.lowers, maps, held)
        try:
            call("fsconfig", context, c.FSCONFIG_CMD_CREATE, 0, 0, 0)
            attributes = c.MOUNT_ATTR_RDONLY if not options.upper or "ro" in options.words else 0
            return call("fsmount", context, c.FSMOUNT_CLOEXEC, attributes)
        except SyscallFailed as error:
            raise _explained(error, context, options) from None


def _overlay_of_one_string(options: OverlayOptions) -> int:
    """By mount(2), for which the directories are opened, so that their paths are short. It attaches:
    to a directory of its own, for a moment."""
    with ExitStack() as held:
        words = [word for word in options.words if word not in ("ro", "rw")]
        for name, path in (("workdir", options.work), ("upperdir", options.upper)):
            if path:
                words.append(f"{name}={_by_descriptor(path, held)}")
        words.append("lowerdir=" + ":".join(_by_descriptor(one, held) for one in options.lowers))
        data = ",".join(words).encode() + b"\0"
        if len(data) > os.sysconf("SC_PAGE_SIZE"):
            raise Unsupported(f"this kernel does not take {len(options.lowers)} layers",
                              hint="Linux 6.8 or newer takes 500")  # fmt: skip
        read_only = not options.upper or "ro" in options.words
        target = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="mobyshell-")))
        place = os.fsencode(target) + b"\0"
        call("mount", b"overlay\0", place, b"overlay\0", c.MS_RDONLY if read_only else 0, data,
             path=options.upper, what="mounting an overlay")  # fmt: skip
        try:
            return _clone(str(target))
        finally:
            call("umount2", place, _UMOUNT_NOFOLLOW | c.MNT_DETACH)


def _by_descriptor(path: str, held: ExitStack) -> str:
    fd = os.open(path, c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    held.callback(os.close, fd)
    return f"/proc/self/fd/{fd}"


def _add_lowers(context: int, lowers: Sequence[str], maps: IdMaps, held: ExitStack) -> None:
    if maps:
        for path in lowers:
            fd = _clone(path)
            held.callback(os.close, fd)
            _map_ids(fd, maps)
            try:
                call("fsconfig", context, c.FSCONFIG_SET_FD, b"lowerdir+\0", 0, fd)
            except SyscallFailed as error:
                raise Unsupported(
                    "this kernel does not put layers with mapped ids over each other",
                    hint="Linux 6.13 or newer, or the snapshotter `native`",
                ) from error
        return
    for path in lowers:
        _set(context, "lowerdir+", _short(path, held, escaped=False))


def _short(path: str, held: ExitStack, *, escaped: bool = True) -> str:
    """The path, or another way to it that fits into a string of fsconfig(2)."""
    if len(os.fsencode(path)) * (2 if escaped else 1) > _LONGEST_VALUE:
        return _by_descriptor(path, held)
    return escape(path) if escaped else path


def _set(context: int, name: str, value: str | None) -> None:
    key = name.encode() + b"\0"
    if value is None:
        call("fsconfig", context, c.FSCONFIG_SET_FLAG, key, 0, 0, path=name)
    else:
        text = os.fsencode(value) + b"\0"
        call("fsconfig", context, c.FSCONFIG_SET_STRING, key, text, 0, path=f"{name}={value}")


def _explained(error: SyscallFailed, context: int, options: OverlayOptions) -> SyscallFailed:
    """With what the kernel wrote into the context's log (fsopen(2))."""
    said = []
    with suppress(OSError):
        while line := os.read(context, 1024):
            said.append(line.decode(errors="replace").partition(" ")[2].strip())
    where = options.upper or (options.lowers[0] if options.lowers else "")
    return SyscallFailed(
        error.syscall, error.errno, path=where, what="mounting an overlay",
        hint="; ".join(said) or error.hint,
    )  # fmt: skip
