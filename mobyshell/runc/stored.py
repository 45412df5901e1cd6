"""Stored plans as they lie on the disk: what they are found by, and whether they still hold.

An entry holds for the bundles of one shape (`shape`), on a host that looks as it did. It is found
by a hash of all that, and says itself which files it depends on besides. Imports nothing
that Python has not loaded itself: it is on the way of every call.
"""

from __future__ import annotations

import marshal
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 2
DIRECTORY = ".plans"
LARGEST = 4 << 20
ID = "\0id\0"
INIT_PID = "\0init\0"
OWN = "\0own %s\0"
"""Stands in the path of a file for the cgroup of a controller (v2: "") that whoever asks is in."""

OWN_GROUPS = "/proc/self/cgroup"
OWN_IDS = "/proc/self/uid_map"
"""Root of a user namespace plans otherwise than the machine's."""
CGROUP_MOUNT = b" - cgroup"

CLOEXEC = posix.O_CLOEXEC


def read(path: str, largest: int = LARGEST, directory: int | None = None) -> bytes:
    """A regular file whole; one of `directory` itself, if that is given. OSError for anything else."""
    how = posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | CLOEXEC
    if directory is not None:
        how |= posix.O_NOFOLLOW
    fd = posix.open(path, how, dir_fd=directory)
    try:
        found = posix.fstat(fd)
        if found.st_mode & 0o170000 != 0o100000 or found.st_size > largest:
            raise OSError(22, "not a plain file", path)
        parts = []
        # /proc says 0 for every size; for more than this malloc would map and unmap memory
        while part := posix.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        posix.close(fd)


def write(path: str, data: bytes) -> None:
    """A new file, for us alone."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | CLOEXEC, 0o600)
    try:
        posix.write(fd, data)
    finally:
        posix.close(fd)


def exists(path: str) -> bool:
    try:
        posix.lstat(path)
    except OSError:
        return False
    return True


def identify(path: str) -> tuple[int, ...]:
    """What tells a file from what it was before; empty if there is none."""
    try:
        one = posix.stat(path)
    except OSError:
        return ()
    return (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns)


def key(
    root: str, shape: Any, keyring: bool, own: dict[str, str] | None = None,
    mounts: list[bytes] | None = None,
) -> bytes:  # fmt: skip
    """Everything that a plan depends on, but for what its entry lists itself. `shape`: a bundle's
    config.json with places; `own`, `mounts`: `own_groups` and `cgroup_mounts`, if they are known."""
    host = posix.uname()
    mounts = cgroup_mounts() if mounts is None else mounts
    words = (
        FORMAT, made_by(), posix.geteuid(), posix.getegid(), read(OWN_IDS), host.release, host.version,
        host.machine, root, keyring, _beside(shape["linux"].get("cgroupsPath") or "", mounts, own),
        b"\n".join(mounts), shape,
    )  # fmt: skip
    return marshal.dumps(words, 2)


def cgroup_mounts() -> list[bytes]:
    """The lines of mountinfo that are about cgroups."""
    return [line for line in read("/proc/self/mountinfo").split(b"\n") if CGROUP_MOUNT in line]


def own_groups() -> dict[str, str]:
    """Controller (v2: "") → the cgroup we are in, empty at the top (cgroups(7))."""
    return groups_in(read(OWN_GROUPS))


def groups_in(content: bytes) -> dict[str, str]:
    """`own_groups`, as a /proc/PID/cgroup says."""
    found = {}
    for line in content.decode().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path.rstrip("/")
    return found


def _beside(
    path: str, mounts: list[bytes], known: dict[str, str] | None = None
) -> tuple[Any, ...]:  # fmt: skip
    """What a plan takes from the cgroups that we are in.

    Where the container's lie at an absolute place, that is only how far they have the way in
    common with ours: podman calls from another cgroup each time. On v2 alone it is all of it.
    """
    own = own_groups() if known is None else known
    above = path.rpartition("/")[0]
    turns = "//" in above or "/./" in f"{above}/" or "/../" in f"{above}/"
    whole = all(line.split(b" ")[3] == b"/" for line in mounts)
    version_1 = any(name and name[:5] != "name=" for name in own)
    if path[:1] != "/" or turns or not whole or not version_1:
        return tuple(own.items())
    way = above.split("/")
    common = []
    for name, place in own.items():
        steps = place.split("/")
        number = 0
        while number < min(len(way), len(steps)) and way[number] == steps[number]:
            number += 1
        common.append((name, number, number == len(steps)))
    return tuple(common)


def made_by() -> tuple[str | int, ...]:
    """What makes plans: this version, and where its sources were last replaced."""
    from mobyshell import __version__

    return (__version__, *(posix.stat(place).st_mtime_ns for place in sources()))


def sources() -> tuple[str, ...]:
    """The directories of what makes plans."""
    runtime = f"{__file__.rpartition('/runc/')[0]}/core/runtime"
    return (runtime, f"{runtime}/operations", f"{runtime}/native")


def owned(uid: int) -> tuple[int, ...]:
    """The streams that are not `uid`'s yet; never /dev/null, which is everybody's."""
    null = posix.stat("/dev/null").st_rdev
    found = []
    for number in (0, 1, 2):
        stream = posix.fstat(number)
        if stream.st_uid != uid and stream.st_rdev != null:
            found.append(number)
    return tuple(found)


def name_of(material: bytes) -> str:
    """The name of the entry for a key; what is in it decides, so 64 bits of a hash will do."""
    import _imp

    return _imp.source_hash(FORMAT, material).hex()


def load(
    root: str, material: bytes, init: int = 0, known: dict[str, str] | None = None
) -> dict[str, Any] | None:
    """The entry for a key, if it is ours, whole, and still true (in the container of `init`).
    `known`: `own_groups`, if they are."""
    path = f"{root}/{DIRECTORY}/{name_of(material)}"
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | CLOEXEC)
    except OSError:
        return None
    try:
        found = posix.fstat(fd)
        if found.st_mode != 0o100600 or found.st_uid != posix.geteuid() or found.st_size > LARGEST:
            return None
        data = posix.read(fd, found.st_size)
    finally:
        posix.close(fd)
    if len(data) < 8 or name_of(data[8:]) != data[:8].hex():
        return None
    entry: dict[str, Any] = marshal.loads(data[8:])
    if entry["key"] != material or owned(entry["uid"]) != tuple(entry["owned"]):
        return None
    for file, content in entry["files"]:
        if "\0" in file:
            known = own_groups() if known is None else known
            for name, place in known.items():
                file = file.replace(OWN % name, place)
        if read(file) != content:
            return None
    for file, identity in entry["identities"]:
        if identify(file.replace(INIT_PID, str(init))) != identity:
            return None
    return entry
