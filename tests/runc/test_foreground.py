"""run and exec in the foreground: signals, the terminal and its size, at a pty of the test's own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.runc.conftest import PATIENCE, Machine
from tests.waiting import eventually


def terminal(document: dict[str, Any]) -> None:
    document["process"]["terminal"] = True


class Person:
    """Someone at a terminal."""

    def __init__(self, master: int) -> None:
        self.master, self.seen = master, b""

    def see(self, wanted: bytes) -> None:
        """Until `wanted` has been shown."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, self.seen
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.seen += os.read(self.master, 4096)
                except OSError:
                    raise AssertionError(self.seen) from None

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))


@contextmanager
def at_terminal(
    machine: Machine, *words: str
) -> Iterator[tuple[Person, subprocess.Popen[bytes], int]]:
    """A call at a terminal of 33 lines of 99 characters; the descriptor is the terminal itself."""
    master, slave = pty.openpty()
    person = Person(master)
    person.resize(33, 99)
    process = subprocess.Popen(
        machine.words(*words), stdin=slave, stdout=slave, stderr=slave, cwd=machine.bundle,
        env=machine.environment, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    try:
        yield person, process, slave
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(PATIENCE)
        os.close(master)
        os.close(slave)


def test_a_terminal_of_ones_own(ours: Machine) -> None:
    ours.spec("sh", "-c", "tty; stty size; read x; echo got $x; exit 7", change=terminal)
    with at_terminal(ours, "run", "c") as (person, process, slave):
        before = termios.tcgetattr(slave)
        person.see(b"/dev/pts/0")
        person.see(b"33 99")
        person.type(b"word\r")
        person.see(b"got word")
        assert process.wait(PATIENCE) == 7
        after = termios.tcgetattr(slave)
        assert after == before, "raw mode must not outlast the program"


def test_the_user_owns_the_terminal(ours: Machine) -> None:
    def of_user(document: dict[str, Any]) -> None:
        terminal(document)
        document["process"]["user"] = {"uid": 1000, "gid": 1000}

    ours.spec("sh", "-c", "stat -c %u /dev/pts/0 $(tty)", change=of_user)
    assert ours.ok("run", "c").split() == ["1000", "1000"]
    ours.background("c")
    words = ("exec", "-t", "-u", "1000", "c", "sh", "-c", "stat -c %u $(tty)")
    assert ours.ok(*words).split() == ["1000"]


def test_keys_and_window_size_reach_the_program(ours: Machine) -> None:
    script = (
        "trap 'stty size' WINCH; trap 'echo int; exit 5' INT; echo on; while :; do sleep 0.05; done"
    )
    ours.spec("sh", "-c", script, change=terminal)
    with at_terminal(ours, "run", "c") as (person, process, _):
        person.see(b"on\r\n")
        person.resize(44, 88)
        person.see(b"44 88")
        person.type(b"\x03")
        person.see(b"int")
        assert process.wait(PATIENCE) == 5


def test_exec_at_a_terminal(ours: Machine) -> None:
    ours.background("c")
    words = ("exec", "--tty", "c", "sh", "-c", "tty; stty size; exit 4")
    with at_terminal(ours, *words) as (person, process, _):
        person.see(b"/dev/pts/0")
        person.see(b"33 99")
        assert process.wait(PATIENCE) == 4


def test_what_is_written_last_is_shown(ours: Machine) -> None:
    ours.spec("sh", "-c", "seq 1 5000; echo the end", change=terminal)
    with at_terminal(ours, "run", "c") as (person, process, _):
        person.see(b"the end")
        assert process.wait(PATIENCE) == 0
    assert person.seen.count(b"\n") == 5001


def test_a_terminal_into_a_file_has_no_carriage_returns(ours: Machine) -> None:
    ours.spec("echo", "hi", change=terminal)
    out = ours.directory / "out"
    with out.open("wb") as file:
        assert ours.call("run", "c", capture_output=False, stdout=file).returncode == 0
    assert out.read_bytes() == b"hi\n"


def test_signals_are_passed_on(ours: Machine) -> None:
    out = ours.directory / "out"
    script = (
        "for s in HUP INT QUIT USR1 USR2 TERM; do trap \"echo $s\" $s; done; trap 'exit 9' ALRM; "
        "echo on; while :; do sleep 0.05; done"
    )
    ours.spec("sh", "-c", script)
    with open(out, "w") as file:
        process = subprocess.Popen(
            ours.words("run", "c"), stdin=subprocess.DEVNULL, stdout=file, cwd=ours.bundle,
            env=ours.environment,
        )  # fmt: skip
    try:
        eventually(lambda: out.read_text() == "on\n")
        heard = ["on"]
        for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM"):
            process.send_signal(signal.Signals[f"SIG{name}"])
            heard.append(name)
            eventually(lambda: out.read_text().splitlines() == heard, seen=out.read_text)
        process.send_signal(signal.SIGALRM)
        assert process.wait(PATIENCE) == 9
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_detached_it_belongs_to_whoever_called(ours: Machine) -> None:
    """To its subreaper: conmon and containerd's shim wait for it."""
    ours.spec("sh", "-c", "exit 6")
    script = (
        "import ctypes, os, subprocess, sys\n"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
        "done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL)\n"
        "assert done.returncode == 0\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1]))\n"
    )
    words = ours.words("run", "--detach", "c")
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=ours.bundle, env=ours.environment,
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr
    assert Path(ours.root / "c").exists()
