"""A helper process that enters namespaces and becomes a command.

`python -m mobyshell.core.linux.enter ENTRY COMMAND…`, the words of `namespaces.entry.program`. It
is a program of its own because entering must never happen in a process with threads or an event
loop. It decides nothing: it opens what the entry says, and goes in, in that order.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.interpreter import become_sealed
from mobyshell.core.linux.namespaces import nsfs
from mobyshell.core.linux.namespaces.entry import environment, unpack
from mobyshell.core.linux.namespaces.kinds import KINDS, inode
from mobyshell.core.linux.syscalls import call
from mobyshell.core.linux.terminals import TIOCSCTTY


def main(argv: list[str]) -> int:
    """Enter and execute; the exit status of the command, 126 or 127 if it cannot be run."""
    document, command = json.loads(argv[0]), argv[1:]
    try:
        # who is in there sees us, and what the command's name leads to is theirs
        become_sealed(["-P", "-m", "mobyshell.core.linux.enter", *argv])
        _own_terminal()
        call("prctl", c.PR_SET_DUMPABLE, 0, 0, 0, 0)
        entered = go_in(document)
    except (MobyshellError, OSError) as error:
        print(f"mobyshell: {error}", file=sys.stderr)
        return 126
    if not entered & {"pid", "time"}:
        return _become(command, entered)
    # a pid or time namespace is for children: so there must be one
    child = os.fork()
    if child == 0:
        os._exit(_become(command, entered))
    _pass_on(child)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def go_in(document: dict[str, Any]) -> frozenset[str]:
    """Enter what the document says, in its order. The kinds. MobyshellError, OSError."""
    with ExitStack() as stack:
        # all before the first is entered: /proc may be another one then, or nobody's
        fds = []
        for values in document["targets"]:
            kind, number, door = unpack(values)
            fds.append((kind, stack.enter_context(nsfs.opened(door, kind, number))))
        root = _root(document) if document["root"] else -1
        if root >= 0:
            stack.callback(os.close, root)
        for kind, fd in fds:
            call("setns", fd, KINDS[kind], what=f"entering the {kind} namespace")
            if kind == "user":
                _be_root()
        if root >= 0:
            os.fchdir(root)
            os.chroot(".")
    return frozenset(kind for kind, _ in fds)


def _root(document: dict[str, Any]) -> int:
    """A descriptor of the root of the process that is to lend it. NotFound if it is another process,
    in another mount namespace, by now."""
    pid = document["root"]
    root = os.open(f"/proc/{pid}/root", c.O_PATH | os.O_CLOEXEC)
    # looked at afterwards: who was there before, and is there now, was so in between
    if inode(pid, "mnt") not in [values[1] for values in document["targets"]]:
        os.close(root)
        raise NotFound(f"process {pid} is not in that mount namespace any more")
    return root


def _be_root() -> None:
    """Root of the user namespace that we are in, where it has one."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    if not any(line.split()[0] == "0" for line in lines):
        return  # nobody in there: as such we stay
    if Path("/proc/self/setgroups").read_text().strip() == "allow":
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _own_terminal() -> None:
    """A session of our own has the terminal it was given (a shell in it wants to control jobs)."""
    if os.isatty(0) and os.getsid(0) == os.getpid():
        try:
            fcntl.ioctl(0, TIOCSCTTY, 0)
        except OSError:
            pass  # it is another session's: then without


def _become(command: Sequence[str], entered: frozenset[str]) -> int:
    surroundings = environment(entered, os.environ)
    try:
        os.execvpe(command[0], list(command), surroundings)
    except OSError as error:
        print(f"mobyshell: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


def _pass_on(child: int) -> None:
    """What comes from the keyboard is for the command; what ends us, ends it."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
