"""How long a key takes to the screen: the real program in a pseudo terminal, a key, the redraw."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

import psutil

from mobyshell.bench.workshop import Workshop
from mobyshell.core.errors import TimedOut


class Screen:
    """`mobyshell` in a pseudo terminal of 120 by 40. Used as a context manager."""

    def __init__(self, shop: Workshop, *arguments: str) -> None:
        # arguments come last, so they win over ours
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        program = str(Path(sys.executable).parent / "mobyshell")
        argv = [program, "--state", str(shop.state), "--namespace", "bench", *arguments]
        environment = {**os.environ, "TERM": "xterm-256color", "MOBYSHELL_STATE": str(shop.state)}
        self.pid = os.posix_spawn(
            program,
            argv,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, slave, fd) for fd in (0, 1, 2)],
            setsid=True,
        )
        os.close(slave)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *exc: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)

    def quiet(self, seconds: float, limit: float = 30) -> None:
        """Read and drop output until there was none for `seconds`."""
        deadline = time.monotonic() + limit
        while select.select([self.master], [], [], seconds)[0]:
            os.read(self.master, 65536)
            if time.monotonic() > deadline:
                raise TimedOut(f"the screen was not quiet for {seconds} s in {limit} s")

    def press(self, key: bytes) -> int:
        """Type `key` and return the nanoseconds until the last byte of its redraw arrived.

        The redraw has ended when nothing came for 30 ms, which is not counted.
        """
        start = time.perf_counter_ns()
        os.write(self.master, key)
        if not select.select([self.master], [], [], 10)[0]:
            raise TimedOut(f"nothing was drawn after {key!r}")
        last = start
        while select.select([self.master], [], [], 0.03)[0]:
            os.read(self.master, 65536)
            last = time.perf_counter_ns()
            if last - start > 5_000_000_000:
                raise TimedOut(f"the redraw after {key!r} does not end")
        return last - start

    def spend(self, seconds: float) -> None:
        """Let time pass, dropping whatever is drawn meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                os.read(self.master, 65536)

    def cpu_ns(self) -> int:
        """User and system time of the program so far."""
        told = psutil.Process(self.pid).cpu_times()
        return round((told.user + told.system) * 1e9)
