"""Who has a container's directory: taking it, giving it up, clearing away what the dead left there.

Owns the lock that an id is. What lies below a root may be half made, foreign or damaged: nothing is
removed that is not provably ours.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from mobyshell.core.errors import AlreadyExists, MobyshellError, SyscallFailed
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.runtime.small_files import read_small, write_new
from mobyshell.core.runtime.state import (
    CGROUPS,
    CREATOR,
    LEVELS,
    STATE,
    State,
    creator_lives,
    decode,
    directory,
    locked,
    same,
)

_GONE = ".gone-"
_GRACE = 10.0

Sweep = Callable[[], str]
"""A place, on the same file system, whose owner removes what is renamed to it."""


def reserve(root: Path, id: str, keep: Sequence[str] = (), *, tidy: bool = True) -> Path:
    """Take the id: whoever makes its directory has it. AlreadyExists for everybody else.

    What a killed creator left half made (its creator gone, no init alive) is cleared away first; with
    `tidy` also what was being deleted by somebody who was killed. With `keep` the directory may be
    there without a container in it: it is the caller's who keeps these names in it, and stays with
    them when this try is taken back.
    """
    path = directory(root, id)
    try:
        if keep and _take_over(root, path, keep):
            return path
        try:
            try:
                os.mkdir(path, 0o711)
            except FileNotFoundError:  # the first one
                root.mkdir(mode=0o711, parents=True, exist_ok=True)
                os.mkdir(path, 0o711)
        except FileExistsError:
            # one at a time: of two that find it abandoned, the second must not clear away the
            # directory that the first has made anew
            with locked(root):
                if not (_clear_abandoned(path) or _remove_empty(path)):
                    raise _taken(id) from None
                path.mkdir(mode=0o711)
                _sign(path)
        else:
            try:
                _sign(path)
            except BaseException:
                with suppress(OSError):
                    path.rmdir()
                raise
        if tidy:
            _clear_gone(root)
    except FileExistsError:
        raise _taken(id) from None
    except OSError as error:
        raise SyscallFailed.of(error, "mkdir", path=str(path)) from None
    return path


def _take_over(root: Path, path: Path, keep: Sequence[str]) -> bool:
    """Sign a directory that has no container (any more); False if there is no directory."""
    if not path.is_dir():
        return False
    with locked(root):
        if os.path.lexists(path / STATE) or creator_lives(path):
            raise _taken(path.name)
        _clear_cgroups(path)
        _clear(path, keep)
        _sign(path, keep)
    return True


def _taken(id: str) -> AlreadyExists:
    return AlreadyExists(
        f"container with given ID already exists: {id}",
        hint="choose another id, or delete that one first",
    )


def _sign(path: Path, keep: Sequence[str] = ()) -> None:
    words = (b"%d %d" % _ourselves(os.getpid()), *(os.fsencode(one) for one in keep))
    write_new(path, CREATOR, b" ".join(words))


@lru_cache(maxsize=1)
def _ourselves(pid: int) -> tuple[int, int]:
    return pid, procfs.start_time(pid)


def clear_abandoned(path: Path) -> bool:
    """Remove `path` if its creator was killed before it was done; whether it was removed."""
    if creator_lives(path) is not False:
        return False
    try:
        with locked(path.parent):
            return _clear_abandoned(path)
    except (OSError, MobyshellError):
        return False  # another user's, or still busy


def _clear_abandoned(path: Path) -> bool:
    """Only on proof: its creator is gone, and no init of it lives."""
    if creator_lives(path) is not False:
        return False
    try:
        state = decode(read_small(path, STATE), path)
        if procfs.alive(state.pid, state.pid_start):
            return False  # created completely; only the last clean-up is missing
    except (OSError, MobyshellError):
        pass
    if _kept(path):
        return False  # its owner has more there than a container, and makes one again
    _clear_cgroups(path)
    shutil.rmtree(path, ignore_errors=True)
    return True


def _kept(path: Path) -> tuple[str, ...]:
    """What the one who makes this container keeps in its directory."""
    try:
        return tuple(os.fsdecode(one) for one in read_small(path, CREATOR).split()[2:])
    except OSError:
        return ()


def _clear(path: Path, keep: Sequence[str]) -> None:
    """Remove what is in the directory but `keep`, the record of the container first."""
    (path / STATE).unlink(missing_ok=True)
    for one in os.scandir(path):
        if one.name in keep:
            continue
        if one.is_dir(follow_symlinks=False):
            shutil.rmtree(one.path, ignore_errors=True)
        else:
            Path(one.path).unlink(missing_ok=True)


def _remove_empty(path: Path) -> bool:
    """Remove what was killed between its mkdir and its first file: empty, and not for a moment."""
    try:
        if time.time() - path.stat().st_mtime < _GRACE:
            return False
        path.rmdir()
    except OSError:
        return False
    return True


def _clear_cgroups(path: Path) -> None:
    """Remove the cgroups that were made for it. Its init ended when its creator did."""
    try:
        groups = json.loads(read_small(path, CGROUPS))
    except (OSError, ValueError):
        return
    if isinstance(groups, dict):
        wanted = [one for one in groups.values() if isinstance(one, str)]
        cgroups.kill_all({"": groups[""]} if isinstance(groups.get(""), str) else {})
        cgroups.remove(wanted, timeout=1.0)
        levels = groups.get(LEVELS)
        if isinstance(levels, list):
            cgroups.remove_empty(one for one in levels if isinstance(one, str))


def _clear_gone(root: Path) -> None:
    """Finish what a `forget` that was interrupted has begun."""
    for name in os.listdir(root):
        if name.startswith(_GONE):
            shutil.rmtree(root / name, ignore_errors=True)


def forget(
    path: Path, state: State | None = None, sweep: Sweep | None = None, keep: Sequence[str] = ()
) -> bool:
    """Remove the state directory; False if another has done so already.

    With `state`, only if it still is that container's: meanwhile the id may have been deleted by
    another process, and taken anew. It is renamed first, so that it is there whole or not at all;
    `sweep` names the place where, and sees to it that what comes there goes. But with `keep` it
    stays, with these names in it and no container.
    """
    own = f"{path.parent}/{_GONE}{os.getpid()}-{os.urandom(4).hex()}"
    gone = sweep() if sweep and not keep else own
    try:
        with locked(path.parent):
            if state is not None and not same(path, state):
                return False
            if keep:
                _clear(path, keep)
                return True
            os.rename(path, gone)
    except FileNotFoundError:
        return False
    if sweep is None:
        shutil.rmtree(gone, ignore_errors=True)
    return True
