"""Where programs are started from: a small process of its own, which takes their time.

Owns the starting: a bench is a large process, and what it would add to a program's time is not the
program's. A stand can be without some of the machine's mounts, in a mount namespace of its own, for
a peer that refuses the machine as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.syscalls import call


class Stand:
    """A process that starts programs, one after the other; started itself when first needed."""

    def __init__(self, *without: str) -> None:
        """`without`: mount points that its programs do not see."""
        self.without = without
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, command: list[str]) -> int:
        """Run `command` to its end, quietly; the nanoseconds from its start to its end.

        MobyshellError with what it said last if it fails, or cannot be started.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mobyshell.bench.stand", *self.without],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        there, back = self._process.stdin, self._process.stdout
        assert there is not None
        assert back is not None
        there.write(json.dumps(command).encode() + b"\n")
        there.flush()
        answer = back.readline()
        if not answer:
            raise MobyshellError(f"what should start {command[0]} has ended")
        spent, status, said = json.loads(answer)
        if status != 0:
            raise MobyshellError(f"{command[0]} exited with {status}: {said or 'no message'}")
        return int(spent)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


def leave(paths: list[str]) -> None:
    """A mount namespace of our own, without `paths`; nobody else's changes."""
    call("unshare", c.CLONE_NEWNS)
    call("mount", b"none\0", b"/\0", 0, c.MS_REC | c.MS_PRIVATE, 0, path="/")
    for path in paths:
        call("umount2", os.fsencode(path) + b"\0", c.MNT_DETACH, path=path)


def start(command: list[str]) -> tuple[int, int, str]:
    """(nanoseconds, status, last line that it said)."""
    # a file: what is left running would keep a pipe open, and us waiting
    output = os.memfd_create("output")
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2),
        ]  # fmt: skip
        begun = time.perf_counter_ns()
        try:
            pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        except OSError as error:
            return 0, 127, str(error)
        _, status = os.waitpid(pid, 0)
        spent = time.perf_counter_ns() - begun
        code = os.waitstatus_to_exitcode(status)
        said = os.pread(output, 1 << 20, 0).decode(errors="replace").strip() if code else ""
    finally:
        os.close(output)
    return spent, code, said.rpartition("\n")[2]


def main(paths: list[str]) -> int:
    """Start what the lines of standard input name, until there are no more."""
    if paths:
        leave(paths)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(start(json.loads(line))) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
