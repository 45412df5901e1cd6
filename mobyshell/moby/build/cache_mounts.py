"""`RUN --mount=type=cache`: directories that outlive a build, and are in no layer.

One is an active snapshot without a parent, which a lease holds until the cache is pruned: so it
belongs to a namespace, is counted and collected like anything else. Owns who may use one at a time;
that is a lock which ends with the process of the build.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.core.errors import AlreadyExists, NotFound, SyscallFailed, TimedOut
from mobyshell.core.store.leases import Resource
from mobyshell.core.store.locks import try_lock, wait_lock, who
from mobyshell.core.store.snapshots.protocol import Snapshotter
from mobyshell.core.store.unpack import PATIENCE
from mobyshell.moby.build.cache import PREFIX
from mobyshell.moby.build.steps import LOCKED, PRIVATE

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant

_ID = "io.mobyshell/build.cache-mount"
_LONGEST = 1000
_MOST = 1000
"""Private ones of one id that are used at once."""


def open_cache(
    held: Tenant, snapshots: Snapshotter, id: str, sharing: str, fill: Callable[[Path], object],
    stack: ExitStack,
) -> Path:  # fmt: skip
    """The directory of the cache `id`, made and filled by `fill` if there is none; locked until
    `stack` ends. `locked`: for one build at a time, others wait; `private`: who comes while it is used
    gets another; `shared`: for all at once.

    TimedOut if it is never free; SyscallFailed.
    """
    for number in range(_MOST if sharing == PRIVATE else 1):
        name = sha256(f"{snapshots.name} {id}".encode()).hexdigest()[:32]
        key = f"{PREFIX}mount-{name}" + (f"-{number}" if number else "")
        lock = _locked(held, key, sharing)
        if lock is None:
            continue
        stack.callback(os.close, lock)
        return _opened(held, snapshots, key, id, fill)
    raise TimedOut(f"{_MOST} builds use the cache {id:.60}")


def _locked(held: Tenant, key: str, sharing: str) -> int | None:
    """A descriptor that holds the lock; None of a private one that is used."""
    path = held.store.scope.root.locks / f"{held.store.name}-{key}"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(path)) from error
    try:
        if sharing == PRIVATE:
            if try_lock(fd):
                return fd
        elif wait_lock(fd, PATIENCE, shared=sharing != LOCKED):
            return fd
        else:
            raise TimedOut(f"a cache is being used by {who(fd)}, which does not end")
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _opened(
    held: Tenant, snapshots: Snapshotter, key: str, id: str, fill: Callable[[Path], object]
) -> Path:
    leases = held.store.leases
    with ExitStack() as stack:
        # who shares it with others might make it together with them
        making = _locked(held, f"{key}.making", LOCKED)
        assert making is not None
        stack.callback(os.close, making)
        if not _whole(snapshots, key):
            with suppress(NotFound):
                snapshots.remove(key)  # of a build that was killed while it made it
            snapshots.prepare(key)
            fill(snapshots.directories(key).directory)
            snapshots.update(key, {_ID: id[:_LONGEST]})
        with suppress(AlreadyExists):
            leases.create(key, {_ID: id[:_LONGEST]})
        leases.add(key, Resource(f"snapshots/{snapshots.name}", key))
        return snapshots.directories(key).directory


def _whole(snapshots: Snapshotter, key: str) -> bool:
    """Whether it is there; then it is held by the lease of this build, too."""
    try:
        return _ID in snapshots.claim(key).labels
    except NotFound:
        return False
