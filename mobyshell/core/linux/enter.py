"""A helper process that enters the namespaces of another and becomes a command.

`python -m mobyshell.core.linux.enter PID KIND,… COMMAND…`. It is a program of its own because
entering must never happen in a process with threads or an event loop.
"""

from __future__ import annotations

import os
import sys

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux.interpreter import become_sealed
from mobyshell.core.linux.namespaces import KINDS, inode
from mobyshell.core.linux.syscalls import call


def main(argv: list[str]) -> int:
    """Enter and execute; the exit status of the command, 126 or 127 if it cannot be run."""
    pid, kinds, command = int(argv[0]), argv[1].split(","), argv[2:]
    try:
        # who is in there sees us, and what the command's name leads to is theirs
        become_sealed(["-m", "mobyshell.core.linux.enter", *argv])
        pidfd = os.pidfd_open(pid)
        # a namespace we are in already need not be entered, and our user namespace cannot be
        wanted = [kind for kind in kinds if inode(pid, kind) != inode(os.getpid(), kind)]
        flags = 0
        for kind in wanted:
            flags |= KINDS[kind]
        if flags:
            call("setns", pidfd, flags, what=f"entering the namespaces of {pid}")
    except (MobyshellError, OSError) as error:
        print(f"mobyshell: {error}", file=sys.stderr)
        return 126
    # a pid or time namespace is for children: so there must be one
    child = os.fork()
    if child == 0:
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"mobyshell: {command[0]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
