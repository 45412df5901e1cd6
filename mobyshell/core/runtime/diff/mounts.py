"""The mount table of the init against `root`, `mounts`, devices, masked and read-only paths."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from mobyshell.core.linux import constants as c
from mobyshell.core.linux import devices as nodes
from mobyshell.core.linux.mount_options import (
    PROPAGATION,
    SUPERBLOCK,
    MountOptions,
    parse_options,
)
from mobyshell.core.linux.mounts import MountInfo, read_mountinfo
from mobyshell.core.oci import Device, Mount, Spec
from mobyshell.core.runtime.diff.inside import Inside, looking_inside
from mobyshell.core.runtime.diff.process import outside
from mobyshell.core.runtime.diff.words import line, unknown
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Difference

# attribute → what mountinfo calls it; a mount without an atime attribute is strictatime
_NAMES = (
    (c.MOUNT_ATTR_RDONLY, "ro"), (c.MOUNT_ATTR_NOSUID, "nosuid"), (c.MOUNT_ATTR_NODEV, "nodev"),
    (c.MOUNT_ATTR_NOEXEC, "noexec"), (c.MOUNT_ATTR_NOATIME, "noatime"),
    (c.MOUNT_ATTR_NODIRATIME, "nodiratime"), (c.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
)  # fmt: skip
_FLAGS = tuple(name for _, name in _NAMES)
_OF_SUPERBLOCK = ("sync", "dirsync", "mand", "lazytime")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_NOT_ASKED = "looking into this container could make us wait for a process of its own"


def mount_lines(spec: Spec, state: State) -> Iterator[Difference]:
    """In the spec's order."""
    table = read_mountinfo(state.pid)
    with looking_inside(state.pid, table) as inside:
        yield from _root(spec, state, inside)
        given = spec.mounts or ()
        for index, one in enumerate(given):
            yield from _entry(f"mounts[{index}] {one.destination}", index, given, inside)
        yield from _devices(spec, inside)
        yield from _hidden(spec, inside)


def _root(spec: Spec, state: State, inside: Inside) -> Iterator[Difference]:
    found = inside.mount_at("/")
    if spec.root is None or found is None:
        return
    own = _own_layer(state.root_mount)
    if own:
        yield line("root.path", own, _own_layer((found.fstype, "", *found.super_options)))
    else:
        yield _same_root(state.root_mount[1] if state.root_mount else state.rootfs, found, inside)
    yield line("root.readonly", "ro" if spec.root.readonly else "rw",
               "ro" if "ro" in found.options else "rw")  # fmt: skip
    if spec.linux is not None and spec.linux.rootfs_propagation:
        yield _propagation("linux.rootfsPropagation", spec.linux.rootfs_propagation, found)


def _own_layer(mount: tuple[str, ...]) -> str:
    """Where an overlay of a container is written; nothing for any other mount."""
    for option in mount[2:]:
        name, _, value = option.partition("=")
        if name == "upperdir" and mount[0] == "overlay":
            return f"overlay over {value}"
    return ""


def _same_root(rootfs: str, found: MountInfo, inside: Inside) -> Difference:
    there = inside.stat("/")
    try:
        here = os.stat(rootfs)
    except OSError:
        return unknown("root.path", rootfs, "it is no longer there")
    same = there is not None and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
    if same or there is None:
        return Difference("root.path", rootfs, rootfs if same else "?", same or None)
    return line("root.path", rootfs, f"{found.root} of {found.source}")


def _propagation(path: str, wanted: str, found: MountInfo) -> Difference:
    kind = wanted if wanted in ("shared", "slave", "private", "unbindable") else wanted[1:]
    there = _kinds(found)
    if kind == "slave" and there == {"private"}:
        return Difference(path, kind, "private", True, "nobody is there whose slave it could be")
    agrees = kind in there
    return Difference(path, kind, " ".join(sorted(there)), agrees)


def _kinds(found: MountInfo) -> set[str]:
    """What mountinfo's optional fields say (mount_namespaces(7))."""
    names = {"shared": "shared", "master": "slave", "unbindable": "unbindable"}
    kinds = {
        names[one.partition(":")[0]] for one in found.optional if one.partition(":")[0] in names
    }
    return kinds or {"private"}


def _place(one: Mount) -> str:
    return os.path.normpath("/" + one.destination.strip("/"))


def _entry(path: str, index: int, given: Sequence[Mount], inside: Inside) -> Iterator[Difference]:
    """One mount of the spec, among those that come before and after it in the same place."""
    one = given[index]
    options = parse_options(one.options or ())
    found = _found(index, given, inside)
    if found is None and "copy-symlink" in options.extensions:
        yield _link(path, one, inside)
    elif found is not None:
        later = next(
            (number for number in range(index + 1, len(given))
             if _place(given[number]) == _place(one)
             and parse_options(given[number].options or ()).remount), None,
        )  # fmt: skip
        if later is None:
            yield _mount(path, one, found)
        else:
            yield Difference(path, _wanted(one), found.fstype, None, f"changed by mounts[{later}]")
    elif not inside.trusted:
        yield unknown(path, _wanted(one), _NOT_ASKED)
    else:
        yield line(path, _wanted(one), "not mounted")


def _found(index: int, given: Sequence[Mount], inside: Inside) -> MountInfo | None:
    """The mount that entry `index` made or changed: of several in one place, the one in its turn."""
    place = _place(given[index])
    made = [
        number for number, one in enumerate(given)
        if _place(one) == place and not parse_options(one.options or ()).remount
    ]  # fmt: skip
    there = [one for one in inside.table if one.mount_point == place]
    turn = sum(1 for number in made if number <= index)
    if len(there) == len(made) > 1 and turn:
        return there[turn - 1]
    return inside.mount_at(place)


def _link(path: str, one: Mount, inside: Inside) -> Difference:
    source = one.source or ""
    target = os.readlink(source) if os.path.islink(source) else ""
    if not target:
        return line(path, _wanted(one), "not mounted")
    return line(path, f"a link to {target}", f"a link to {inside.link(_place(one)) or 'nothing'}")


def _wanted(one: Mount) -> str:
    options = parse_options(one.options or ())
    kind = "bind" if options.bind else one.type or "?"
    if options.remount:
        kind = "remount"
    return " ".join((kind, *_asked(options), *_mapped(one, options), *_data(one)))


def _bits(options: MountOptions) -> tuple[int, int]:
    """(attributes to be on, to be off) of the top of the tree: those of the tree come last."""
    on = options.attr_set & ~options.rec_clear | options.rec_set
    return on, (options.attr_clear | options.rec_clear) & ~on


def _asked(options: MountOptions) -> list[str]:
    """The attributes that are on at the end, by the names of mountinfo."""
    on, _ = _bits(options)
    return [name for bit, name in _NAMES if on & bit]


def _mapped(one: Mount, options: MountOptions) -> list[str]:
    asked = one.uid_mappings or one.gid_mappings or {"idmap", "ridmap"} & set(options.extensions)
    return ["idmapped"] if asked else []


def _data(one: Mount) -> list[str]:
    """The filesystem's own options that have a value."""
    options = parse_options(one.options or ())
    if options.bind or one.type == "cgroup":
        return []
    flags = options.as_flags()[0]
    of_all = [word for word in _OF_SUPERBLOCK if flags & SUPERBLOCK[word][0]]
    return [*of_all, *(word for word in options.data if "=" in word)]


def _mount(path: str, one: Mount, found: MountInfo) -> Difference:
    options = parse_options(one.options or ())
    asked = [*_asked(options), *_mapped(one, options)]
    there = [word for word in (*_FLAGS, "idmapped") if word in found.options]
    _, off = _bits(options)
    cleared = {name for bit, name in _NAMES if off & bit}
    kind, note = found.fstype, ""
    if options.remount:
        kind, right = "remount", asked == there
    elif options.bind:
        kind, note = "bind", f"of {found.fstype}, {found.root}"
        # what its source had is kept, unless it was asked to go
        right = set(asked) <= set(there) and not cleared & set(there)
    elif one.type == "cgroup":
        kind, note = "cgroup", f"a {found.fstype}"
        right = set(asked) <= set(there) and found.fstype in ("tmpfs", "cgroup", "cgroup2")
    else:
        right = asked == there and one.type == found.fstype
    on, _ = _bits(options)
    if on & c.MOUNT_ATTR_STRICTATIME and "relatime" in found.options:
        right, note = False, f"{note}; relatime, not strictatime".lstrip("; ")
    shown, same = _shown_data(one, found)
    for word in one.options or ():
        if word in PROPAGATION:
            spread = _propagation("", word, found)
            right = right and bool(spread.agrees)
            if not spread.agrees:
                note = f"{note}; {spread.found}, not {spread.wanted}".lstrip("; ")
    wanted = _wanted(one)
    return Difference(path, wanted, " ".join((kind, *there, *shown)), right and same, note)


def _shown_data(one: Mount, found: MountInfo) -> tuple[list[str], bool]:
    """The wanted options as the kernel shows them (some it never shows), and whether they agree."""
    there = dict(word.partition("=")[::2] for word in found.super_options)
    shown, same = [], True
    for word in _data(one):
        key, given, value = word.partition("=")
        if not given:
            same = same and key in there
            shown += [key] if key in there else []
        elif key not in there or _number(key, there[key]) == _number(key, value):
            shown.append(word)
        else:
            shown.append(f"{key}={there[key]}")
            same = False
    return shown, same


def _number(key: str, value: str) -> int | str:
    """65536k and 64m are the same size, 0620 and 620 the same mode."""
    text = value.lower()
    try:
        if key in ("mode", "ptmxmode", "umask", "fmask", "dmask"):
            return int(text, 8)
        return int(text[:-1]) * _UNITS[text[-1]] if text[-1:] in _UNITS else int(text)
    except ValueError:
        return value


def _devices(spec: Spec, inside: Inside) -> Iterator[Difference]:
    if any(os.path.normpath(one.destination) == "/dev" and parse_options(one.options or ()).bind
           for one in spec.mounts or ()):  # fmt: skip
        return  # the host's own: then no device is made
    given = spec.linux.devices or () if spec.linux else ()
    named = {os.path.normpath(one.path) for one in given}
    for path, major, minor in nodes.DEFAULT:
        if path not in named:
            wanted = f"c {major}:{minor}"
            yield _device(f"default device {path}", wanted, path, inside, owner=None)
    for index, one in enumerate(given):
        mode = 0o666 if one.file_mode is None else one.file_mode & 0o7777
        owner = (outside(spec, "uid", one.uid or 0), outside(spec, "gid", one.gid or 0))
        bound = any(entry.type == "user" for entry in (spec.linux and spec.linux.namespaces) or ())
        wanted = (
            _device_words(one)
            if bound
            else f"{_device_words(one)} {mode:04o} {owner[0]}:{owner[1]}"
        )
        yield _device(f"linux.devices[{index}] {one.path}", wanted, one.path, inside,
                      owner=None if bound else owner)  # fmt: skip


def _device_words(one: Device) -> str:
    return nodes.describe(one.type, one.major, one.minor)


def _device(
    name: str, wanted: str, path: str, inside: Inside, *, owner: tuple[int, int] | None
) -> Difference:
    if not inside.trusted:
        return unknown(name, wanted, _NOT_ASKED)
    there = inside.stat(path)
    if there is None:
        return line(name, wanted, "nothing")
    numbers = f"{os.major(there.st_rdev)}:{os.minor(there.st_rdev)}"
    kinds = ((stat.S_ISCHR, f"c {numbers}"), (stat.S_ISBLK, f"b {numbers}"), (stat.S_ISFIFO, "p"))
    found = next((words for test, words in kinds if test(there.st_mode)), "no device")
    if owner is not None:
        found += f" {stat.S_IMODE(there.st_mode):04o} {there.st_uid}:{there.st_gid}"
    return line(name, wanted, found)


def _hidden(spec: Spec, inside: Inside) -> Iterator[Difference]:
    linux = spec.linux
    for index, path in enumerate((linux.masked_paths if linux else None) or ()):
        yield _hidden_line(f"linux.maskedPaths[{index}] {path}", "hidden", path, inside)
    for index, path in enumerate((linux.readonly_paths if linux else None) or ()):
        yield _hidden_line(f"linux.readonlyPaths[{index}] {path}", "ro", path, inside)


def _hidden_line(name: str, wanted: str, path: str, inside: Inside) -> Difference:
    found = inside.mount_at(path)
    if found is None:
        if not inside.trusted:
            return unknown(name, wanted, _NOT_ASKED)
        if not inside.exists(path):
            return Difference(name, wanted, "not there", True, "nothing to protect")
        return line(name, wanted, "not mounted over")
    if wanted == "ro":
        return line(name, wanted, "ro" if "ro" in found.options else "rw")
    hidden = found.root.endswith("/null") or (found.fstype == "tmpfs" and "ro" in found.options)
    note = "by /dev/null" if found.root.endswith("/null") else "by an empty tmpfs"
    if hidden:
        return Difference(name, wanted, wanted, True, note)
    return line(name, wanted, f"{found.fstype} {found.root}")
