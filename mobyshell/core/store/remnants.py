"""What a crash, or a hand, has left in a store: nobody's directories, leases and mounts.

Owns the finding, for `check`; the collection takes what is garbage, as it would anyway. What
somebody works on at this moment has a lock, and is no remnant.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mobyshell.core.errors import NotFound, SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.mounts import MountInfo, read_mountinfo, unescape
from mobyshell.core.linux.syscalls import call
from mobyshell.core.store.content.blobs import Blobs
from mobyshell.core.store.gc.gather import lease_holds
from mobyshell.core.store.gc.graph import SNAPSHOT, Node
from mobyshell.core.store.labels import decode
from mobyshell.core.store.snapshots.overlay import WORK
from mobyshell.core.store.store import Store

Remnant = tuple[str, str, str, str]
"""Kind, subject, problem and remedy, as a `check.Finding` has them."""

_COLLECTED = "collected"
_BY_HAND = "see to it by hand"
_SETTLED = 60.0
"""Seconds after which nobody is between making a directory and locking it."""


def remnants(store: Store) -> Iterator[Remnant]:
    """All of them. What is `mounted` in the store comes first: it keeps others from being removed."""
    yield from _mounts(store)
    yield from _ingests(store)
    yield from _directories(store)
    yield from _leases(store)


def _mounts(store: Store) -> Iterator[Remnant]:
    """As this process sees them. In the store nothing is ever mounted; a container's own layer is, for
    those whom `snapshot mount` has shown it, under the directory's name."""
    inside, snapshots = f"{store.root.path}/", f"{store.root.snapshots}/"
    with store.database.read() as sql:
        known = {key for (key,) in sql.execute("SELECT key FROM snapshots")}
    for one in read_mountinfo(os.getpid()):
        if one.mount_point.startswith((snapshots, f"{inside}content/")):
            yield "mounted", one.mount_point, f"a {one.fstype} is mounted in the store", "unmounted"
        elif (upper := _upper(one)).startswith(snapshots) and one.mount_point not in known:
            yield ("mount", one.mount_point, f"{upper} is still mounted there",
                   f"umount {one.mount_point}")  # fmt: skip


def _upper(one: MountInfo) -> str:
    if one.fstype != "overlay":
        return ""
    said = (option.partition("=") for option in one.super_options)
    return next((unescape(value) for name, _, value in said if name == "upperdir"), "")


def unmount(path: str) -> None:
    """Take a mount away, also one that is busy. SyscallFailed."""
    flags = c.MNT_DETACH | c.UMOUNT_NOFOLLOW
    call("umount2", os.fsencode(path) + b"\0", flags, path=path)


def _ingests(store: Store) -> Iterator[Remnant]:
    with store.database.read() as sql:
        named = {row[0] for row in sql.execute("SELECT directory FROM ingests")}
    for entry in _entries(store.root.ingests):
        if not entry.is_dir():
            yield "stranger", str(entry), "it is no ingest", _BY_HAND
        elif entry.name not in named and _nobodys(entry):
            with Blobs(store.root).door.alone(), store.database.read() as sql:
                row = sql.execute("SELECT 1 FROM ingests WHERE directory = ?", (entry.name,))
                gone = row.fetchone() is None and entry.exists()
            if gone:
                yield "orphan", str(entry), "an ingest that no row names", _COLLECTED


def _directories(store: Store) -> Iterator[Remnant]:
    """Beside the trees, of which others speak."""
    for above in _entries(store.root.snapshots):
        for entry in _entries(above):
            if entry.name.startswith(("new-", "rm-")) and _nobodys(entry):
                yield "orphan", str(entry), "a tree that was never made, or is to go", _COLLECTED
            elif not entry.name.startswith(("new-", "rm-", ".")) and not entry.name.isdecimal():
                yield "stranger", str(entry), "it is no tree", _BY_HAND
    with store.database.read() as sql:
        rows = sql.execute(
            "SELECT namespace, key, tree FROM snapshots"
            " WHERE kind = 'active' AND snapshotter = 'overlayfs'"
        ).fetchall()
    for namespace, key, tree in rows:
        place = store.root.snapshots / "overlayfs" / str(tree)
        if place.is_dir() and not (place / WORK).is_dir() and _needed(store, namespace, key):
            yield "work", str(place / WORK), "overlayfs' own directory is missing", "made"


def _needed(store: Store, namespace: str, key: str) -> bool:
    """Whether anything keeps a snapshot. In an import that a power cut ended one can be active again,
    of which the disk knows that it was committed: it is garbage."""
    try:
        return bool(store.why(Node(namespace, f"{SNAPSHOT}/overlayfs", key)))
    except NotFound:
        return False  # removed meanwhile


def _entries(directory: Path) -> list[Path]:
    """What is in a directory; nothing if it is none."""
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _nobodys(path: Path) -> bool:
    """Whether nobody has the lock on a directory, nor had the time to take it."""
    try:
        if path.stat().st_ctime + _SETTLED > time.time():
            return False
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # gone meanwhile
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


def _leases(store: Store) -> Iterator[Remnant]:
    with store.database.read() as sql:
        rows = sql.execute(
            "SELECT namespace, id, labels, expires, (SELECT count(*) FROM lease_resources AS one"
            " WHERE one.namespace = leases.namespace AND one.lease = leases.id) FROM leases"
        ).fetchall()
    for namespace, id, labels, expires, held in rows:
        if not lease_holds(decode(labels), expires, time.time()):
            yield ("orphan", f"lease {namespace}: {id}",
                   f"it is over, and names {held} thing{'s'[: held != 1]}", _COLLECTED)  # fmt: skip


def make_work(path: str) -> None:
    """Make the directory that overlayfs needs of an active snapshot. SyscallFailed."""
    try:
        os.mkdir(path, 0o711)
    except FileExistsError:
        pass
    except OSError as error:
        raise SyscallFailed.of(error, "mkdir", path=path) from None
