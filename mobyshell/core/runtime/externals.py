"""What of a container lies outside of it: what an image of its processes can only name.

Owns the names under which mounts and namespaces of the host are written at a checkpoint, and found
again at a restore: the same functions say both, so they agree. Looks at paths, changes nothing but
the mount points that a root lacks.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from mobyshell.core.errors import InvalidSpec, SyscallFailed, Unsupported
from mobyshell.core.linux.cgroups import together
from mobyshell.core.linux.devices import DEFAULT
from mobyshell.core.linux.paths import make_in_root, open_in_root
from mobyshell.core.oci import Mount, Spec
from mobyshell.core.runtime.handed_trees import mapped

DESCRIPTORS = "descriptors.json"
"""In the images' directory: what the standard streams were, as /proc/PID/fd says it."""

NULL = "/dev/null"

OUTSIDE = {"network": ("net", (3, 11, 0)), "pid": ("pid", (3, 15, 0))}
"""Joined namespaces that criu leaves alone: its name for them, and since which version."""
JOINED = {"ipc": "ipc", "uts": "uts", "mount": "mnt", "user": "user", "time": "time"}
"""Those that it joins at a restore."""

Pairs = list[tuple[str, str]]


def is_bind(entry: Mount) -> bool:
    """Whether the mount shows something of the host."""
    return entry.type == "bind" or bool({"bind", "rbind"} & set(entry.options or ()))


def is_cgroup(entry: Mount) -> bool:
    """Whether the mount shows the container's cgroups."""
    return not is_bind(entry) and entry.type in ("cgroup", "cgroup2")


def refuse(spec: Spec) -> None:
    """Unsupported for mounts that would come back as something else than they were."""
    for index, entry in enumerate(spec.mounts or ()):
        if mapped(spec, entry, None):
            raise Unsupported(
                f"mounts[{index}] {entry.destination}: criu would restore it without its id mapping",
                hint="a container with id-mapped mounts cannot be checkpointed by criu",
            )


def mounts(spec: Spec, rootfs: str, bundle: str, groups: Mapping[str, str], mode: str) -> Pairs:
    """(place in the container, source on the host) of every mount that is the host's."""
    linux = spec.linux
    inside = any(one.type == "cgroup" for one in (linux.namespaces or ())) if linux else False
    found: Pairs = []
    for entry in spec.mounts or ():
        place = place_of(rootfs, entry.destination)
        if is_bind(entry):
            found.append((place, os.path.normpath(os.path.join(bundle, entry.source or ""))))
        elif is_cgroup(entry) and mode == "v2":
            if not inside and groups:
                found.append((place, groups[""]))
        elif is_cgroup(entry):
            found += [
                (f"{place}/{name.removeprefix('name=')}", path)
                for name, path in together(groups).items() if name
            ]  # fmt: skip
    return found + [(place_of(rootfs, path), path) for path in _devices(spec)]


def _devices(spec: Spec) -> list[str]:
    """Devices that may be the host's own nodes: in a user namespace nobody can make others."""
    linux = spec.linux
    if linux is None:
        return []
    paths = [one.path for one in linux.devices or ()]
    if any(one.type == "user" for one in linux.namespaces or ()):
        paths += [path for path, _, _ in DEFAULT if path not in paths]
    return paths


def masked(spec: Spec, pid: int) -> Pairs:
    """(place, /dev/null) of every file of process `pid` that is hidden behind the host's."""
    found: Pairs = []
    for path in (spec.linux.masked_paths or ()) if spec.linux else ():
        try:
            root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = open_in_root(root, path, os.O_PATH)
            finally:
                os.close(root)
        except (OSError, SyscallFailed):
            continue  # what is not there is not hidden
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                found.append((path, NULL))
        finally:
            os.close(fd)
    return found


def place_of(rootfs: str, destination: str) -> str:
    """Where a mount is, as the container's mount table has it: links of the image followed."""
    plain = "/" + os.path.normpath(destination).strip("/")
    try:
        root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_in_root(root, plain, os.O_PATH)
        finally:
            os.close(root)
    except (OSError, SyscallFailed):
        return plain
    try:
        top, found = os.path.realpath(rootfs), os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    if found == top or not found.startswith(f"{top}/"):
        return plain
    return found.removeprefix(top)


def names(spec: Spec) -> list[tuple[str, str]]:
    """(kind, path) of the namespaces that the container joined."""
    listed = (spec.linux.namespaces or ()) if spec.linux else ()
    return [(one.type, one.path) for one in listed if one.path]


def key(kind: str) -> str:
    """What criu's images call a namespace that stays outside."""
    short = OUTSIDE[kind][0]
    return f"extRoot{short[0].upper()}{short[1:]}NS"


def make_mount_points(spec: Spec, rootfs: str, bundle: str) -> None:
    """Make the mount points that a fresh root lacks, each beneath what covers it.

    As `create` makes them; only in what is the host's: a tmpfs comes back with what was in it.
    SyscallFailed, naming it, for one that cannot be made.
    """
    covers: list[tuple[str, str]] = [("/", rootfs)]
    for index, entry in enumerate(spec.mounts or ()):
        place = "/" + os.path.normpath(entry.destination).strip("/")
        base, below = _covering(covers, place)
        source = (
            os.path.normpath(os.path.join(bundle, entry.source or "")) if is_bind(entry) else ""
        )
        if base and below and not is_cgroup(entry):
            _make(base, below, directory=not source or os.path.isdir(source), index=index)
        covers.append((place, source))


def _covering(covers: Sequence[tuple[str, str]], place: str) -> tuple[str, str]:
    """(directory on the host, path below it) that `place` lies in; "" if it is not the host's."""
    for top, source in reversed(covers):
        prefix = top.rstrip("/") + "/"
        if place.startswith(prefix):
            return source, place.removeprefix(prefix)
    raise InvalidSpec(f"{place} is not absolute")


def _make(base: str, below: str, *, directory: bool, index: int) -> None:
    what = f"make the mount point of mounts[{index}]"
    try:
        root = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            make_in_root(root, below, directory=directory)
        finally:
            os.close(root)
    except OSError as error:
        raise SyscallFailed("mkdirat", error.errno or 0, path=below, what=what) from None
