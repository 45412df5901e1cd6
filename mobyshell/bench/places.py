"""Where benches work: directories that are taken away at the end, those of killed benches by the next.

Owns the taking away: tasks, processes, mounts, loop devices, files, whatever of them has such a
directory's name. A directory is its bench's as long as that holds the lock on it, and nobody's
afterwards.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from glob import glob
from pathlib import Path

import psutil

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import cgroups
from mobyshell.core.linux import constants as c
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.linux.mounts import read_mountinfo
from mobyshell.core.linux.syscalls import call
from mobyshell.core.tasks.client import TaskClient
from mobyshell.core.tasks.paths import LOCK

_PREFIX = "mobyshell-"
_NEW = ".mobyshell-new-"
_PATIENCE = 10.0
"""Seconds for killed processes to be gone."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def place(kind: str, parent: str | None = None) -> Iterator[Path]:
    """A directory `mobyshell-KIND.…` in `parent` (by default where temporary files are). What killed
    benches of this kind have left there goes first, and all of this one's at the end, also if that is
    by TERM or HUP, which interrupt as Ctrl-C does."""
    above = parent or tempfile.gettempdir()
    clear_killed(kind, above)
    # under its name only once it is locked: without a lock it is taken for a dead one's
    new = Path(tempfile.mkdtemp(prefix=_NEW, dir=above))
    held = os.open(new, _DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        directory = new.rename(new.with_name(f"{_PREFIX}{kind}.{new.name.removeprefix(_NEW)}"))
        with _interrupted_by(signal.SIGTERM, signal.SIGHUP):
            try:
                yield directory
            finally:
                clear(directory)
    finally:
        os.close(held)


@contextmanager
def _interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """These signals raise KeyboardInterrupt, where they would have ended the process without a word."""
    mine = threading.current_thread() is threading.main_thread()
    usual = [one for one in numbers if mine and signal.getsignal(one) is signal.SIG_DFL]
    for one in usual:
        signal.signal(one, signal.default_int_handler)
    try:
        yield
    finally:
        for one in usual:
            signal.signal(one, signal.SIG_DFL)


def clear_killed(kind: str, parent: str) -> list[Path]:
    """Take away what benches of this user that are no more have left in `parent`; the directories."""
    cleared = []
    for directory in sorted(Path(parent).glob(f"{_PREFIX}{kind}.*")):
        try:
            fd = os.open(directory, _DIRECTORY)
        except OSError:
            continue  # no directory, or gone meanwhile
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(fd)
            if found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o022:
                clear(directory)
                cleared.append(directory)
        except OSError:
            continue  # somebody works there
        finally:
            os.close(fd)
    return cleared


def clear(directory: Path) -> None:
    """Take `directory` away with all that goes on in it. What cannot be taken away stays."""
    for lock in (*directory.glob(LOCK), *directory.glob(f"*/{LOCK}")):
        _end_tasks(lock.parent)
    _kill(directory)
    _unmount(directory)
    shutil.rmtree(directory, ignore_errors=True)


def processes(*needles: str) -> list[int]:
    """The pids whose command line holds every needle."""
    found = []
    for one in psutil.process_iter(["cmdline"]):
        command = "\0".join(one.info["cmdline"] or ())  # None: it is gone, or was never a program
        if one.pid != os.getpid() and all(needle in command for needle in needles):
            found.append(one.pid)
    return found


def _of(directory: Path) -> list[int]:
    """The pids whose command line has the directory in it, or whose own root is of it: a container of
    another engine's, whose program says nothing."""
    found = processes(f"{directory}/")
    for pid in psutil.pids():
        try:
            mounts = read_mountinfo(pid)
        except (MobyshellError, OSError):
            continue  # gone, or not ours to look at
        roots = [(one.root, *one.super_options) for one in mounts if one.mount_point == "/"]
        if any(f"/{directory.name}/" in f"{word}/" for root in roots for word in root):
            found.append(pid)
    return found


def _groups(pid: int) -> list[str]:
    """The cgroups of a process, and those above them that a bench has made (`engine`)."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for path in {line.split(":", 2)[2] for line in lines} - {"/"}:
        above = os.path.dirname(path)
        for one in (path, *([above] if above.startswith(f"/{_PREFIX}bench-") else [])):
            found += [*glob(f"/sys/fs/cgroup/*{one}"), f"/sys/fs/cgroup{one}"]
    return found


def _kill(directory: Path) -> None:
    """Kill whoever is of it, and wait until they are gone, with the cgroups that are empty then. All are
    stopped before one is killed: a keeper and its shim make the other anew, and who is just being
    executed has no command line to be found by."""
    deadline = time.monotonic() + _PATIENCE
    groups: list[str] = []
    while (pids := _of(directory)) and time.monotonic() < deadline:
        groups += [one for pid in pids for one in _groups(pid)]
        with ExitStack() as opened:
            held = []
            for pid in pids:
                try:
                    held.append(os.pidfd_open(pid))
                except OSError:
                    continue  # it has just ended
                opened.callback(os.close, held[-1])
            if not set(pids) <= set(_of(directory)):
                continue  # one of the numbers may be somebody else's now
            for one in (signal.SIGSTOP, signal.SIGKILL):
                for pidfd in held:
                    pidfds.send(pidfd, one)
            for pidfd in held:
                select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
    cgroups.remove_empty(sorted(set(groups), key=len, reverse=True))


def _end_tasks(state: Path) -> None:
    for namespace in [one.name for one in state.glob("[!.]*") if one.is_dir()]:
        try:
            with TaskClient(state, namespace) as tasks:
                for task in tasks.ls():
                    tasks.delete(task.id, force=True)
        except MobyshellError:
            continue  # its processes are ended all the same, by their names


def _unmount(directory: Path) -> None:
    """The mounts in it, the last one first, and loop devices of files in it, which go with them."""
    inside = f"{directory}/"
    for one in reversed(read_mountinfo(os.getpid())):
        if one.mount_point.startswith(inside):
            try:
                call(
                    "umount2",
                    os.fsencode(one.mount_point) + b"\0",
                    c.MNT_DETACH,
                    path=one.mount_point,
                )
            except MobyshellError:
                continue
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if backing.read_text().startswith(inside):
                device = f"/dev/{backing.parts[3]}"
                subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)
        except OSError:
            continue  # it has just gone
