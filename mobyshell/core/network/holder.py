"""User and network namespaces that are there before the container, and outlive its processes.

A container with users of its own joins both: a network namespace has to belong to the user namespace
of whoever is in it, and one that the container made itself would go with its first process. Root
keeps them by mounts. What is started without privileges cannot mount them where others see it, so
a process that sleeps holds them. Only the worker makes any.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError, SyscallFailed, Unsupported
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.syscalls import call
from mobyshell.core.network import files

if TYPE_CHECKING:
    from mobyshell.core.network.worker import Places

_PLACES = "/usr/local/bin:/usr/bin:/bin"


def hold(
    places: Places, *, pidfile: str, uids: Sequence[Sequence[int]], gids: Sequence[Sequence[int]]
) -> int:
    """Start a holder, with the maps (inside, outside, how many) of its user namespace; its pid."""
    with _made("", uids, gids) as (pid, go, ready):
        files.write(pidfile, f"{pid} {files.start_time(pid)}\n".encode())
        os.write(go, b"!")
        if os.read(ready, 1):  # it closes with execve, or says that there was none
            raise MobyshellError("no namespaces for the network: sleep cannot be run")
    return pid


def pin(
    places: Places, *, path: str, kept: str, users: str, uids: Sequence[Sequence[int]],
    gids: Sequence[Sequence[int]],
) -> None:  # fmt: skip
    """A new network namespace that belongs to the user namespace at `users`, or to one with these
    maps that is made and kept at `kept`; both kept by mounts."""
    with _made(users, uids, gids) as (pid, _, _):
        for kind, where in (("net", path), ("user", "" if users else kept)):
            if where:
                os.close(os.open(where, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o400))
                call("mount", f"/proc/{pid}/ns/{kind}".encode() + b"\0", os.fsencode(where) + b"\0",
                     0, c.MS_BIND, 0, path=where)  # fmt: skip


@contextmanager
def _made(
    users: str, uids: Sequence[Sequence[int]], gids: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int, int]]:
    """A process in such namespaces, what tells it to stay (else it ends), and what it says."""
    entered = os.open(users, os.O_RDONLY | os.O_CLOEXEC) if users else -1
    ready, told = os.pipe()
    wait, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        os.close(go)
        _be(told, wait, entered)
    for fd in (told, wait, entered):
        if fd >= 0:
            os.close(fd)
    stays = False
    try:
        failure = os.read(ready, 4096)
        if failure != b"ok":
            raise MobyshellError(f"no namespaces for the network: {failure.decode() or 'it died'}")
        if not users:
            _map(pid, "uid", uids)
            _map(pid, "gid", gids)
        yield pid, go, ready
        stays = True
    finally:
        os.close(go)
        os.close(ready)
        if not stays:
            os.waitpid(pid, 0)


def _be(told: int, wait: int, users: int) -> None:
    """The holder: never returns. It goes on only once it is recorded, so that none is forgotten."""
    try:
        os.setsid()
        for name in os.listdir("/proc/self/fd"):  # above all the lock, which we would hold for ever
            if int(name) > 2 and int(name) not in (told, wait, users):
                with suppress(OSError):  # the directory that was just listed
                    os.close(int(name))
        try:
            if users >= 0:
                call("setns", users, c.CLONE_NEWUSER, what="entering the user namespace")
            new = c.CLONE_NEWNET if users >= 0 else c.CLONE_NEWUSER | c.CLONE_NEWNET
            call("unshare", new, what="unshare")
        except SyscallFailed as error:
            os.write(told, str(error).encode())
            os._exit(1)
        os.write(told, b"ok")
        if os.read(wait, 1) != b"!":
            os._exit(1)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.chdir("/")
        program = shutil.which("sleep", path=_PLACES) or "/bin/sleep"
        os.execv(program, ["sleep", "infinity"])
    except OSError:
        os.write(told, b"!")
    finally:
        os._exit(1)


def _map(pid: int, kind: str, maps: Sequence[Sequence[int]]) -> None:
    """Write a map ourselves where that is allowed: our own id alone; else by newuidmap(1)."""
    own = os.geteuid() if kind == "uid" else os.getegid()
    if os.geteuid() == 0 or [list(one)[1:] for one in maps] == [[own, 1]]:
        try:
            if kind == "gid" and os.geteuid():
                with open(f"/proc/{pid}/setgroups", "w") as file:
                    file.write("deny")
            with open(f"/proc/{pid}/{kind}_map", "w") as file:
                file.write("".join(f"{' '.join(map(str, one))}\n" for one in maps))
        except OSError as error:
            raise SyscallFailed.of(error, "write", path=f"/proc/{pid}/{kind}_map") from None
        return
    program = shutil.which(f"new{kind}map", path=_PLACES)
    if program is None:
        raise Unsupported(f"new{kind}map is not installed", hint="apt install uidmap")
    words = [program, str(pid), *(str(number) for one in maps for number in one)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)  # fmt: skip
    if done.returncode:
        raise MobyshellError(f"new{kind}map: {done.stderr.strip()[:300]}",
                             hint=f"/etc/sub{kind} says which ids are yours")  # fmt: skip
