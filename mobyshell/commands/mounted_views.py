"""A snapshot on a directory of the host: what `image mount` and `snapshot mount` have in common.

Owns the agreement between a mount and the snapshot behind it: the key is the directory's path, so
that only what was mounted this way is unmounted, and nothing is left when it is.
"""

from __future__ import annotations

import errno
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.commands.results import Done
from mobyshell.commands.stored import kept_labels
from mobyshell.core.errors import AlreadyExists, NotFound, SyscallFailed

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.store.snapshots.protocol import Snapshotter


def mount_upon(
    ctx: Context, snapshots: Snapshotter, parent: str, directory: str, *, writable: bool = False
) -> Path:
    """Make a view (or, `writable`, an active snapshot) of `parent` and mount it on `directory`,
    which is made. Without setuid programs and devices."""
    from mobyshell.core.store.snapshots import mounting

    target = Path(os.path.abspath(directory))
    make = snapshots.prepare if writable else snapshots.view
    try:
        mounts = make(str(target), parent, kept_labels(ctx, ()))
    except AlreadyExists:
        raise AlreadyExists(
            f"something is mounted on {target} already, or was: snapshot {str(target)!r} is there",
            hint=f"`mobyshell snapshot unmount {shlex.quote(directory)}` takes it away",
        ) from None
    try:
        target.mkdir(parents=True, exist_ok=True)
        mounting.attach(mounts, target, trusted=False)
    except BaseException as error:
        snapshots.remove(str(target))
        if isinstance(error, OSError):
            raise SyscallFailed.of(error, "mkdir", path=str(target)) from error
        raise
    return target


def unmount(ctx: Context, directory: str, snapshotter: str | None) -> Done:
    """Unmount what `mount_upon` has mounted, and remove its snapshot."""
    from mobyshell.core.store.snapshots import mounting

    target = os.path.abspath(directory)
    snapshots = ours(ctx, target, snapshotter)
    try:
        mounting.detach(Path(target))
    except SyscallFailed as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    snapshots.remove(target)  # also of a mount that a reboot has ended
    return Done(target)


def ours(ctx: Context, target: str, name: str | None) -> Snapshotter:
    """The snapshotter whose snapshot `mount_upon` has mounted there; any, if none is named. NotFound
    where there is none: what others mount is theirs."""
    from mobyshell.core.store.snapshots.choose import DRIVERS, snapshotter

    for one in (name,) if name else DRIVERS:
        found = snapshotter(ctx.space.scope, one)
        with suppress(NotFound):
            found.stat(target)
            return found
    raise NotFound(
        f"no snapshot is mounted on {target} by this namespace",
        hint="`snapshot ls` (--snapshotter) has those that are, by their directories",
    )
