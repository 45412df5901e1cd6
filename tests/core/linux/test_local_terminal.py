"""A program in a terminal of its own, driven from the other end."""

from __future__ import annotations

import gc
import os
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.local_terminal import LocalTerminal
from tests.waiting import eventually

PATIENCE = 60.0


def read_until(terminal: LocalTerminal, word: bytes) -> bytes:
    """What it says, up to the word."""
    said = b""
    while word not in said:
        got = terminal.read()
        assert got is not None, said
        said += got[1]
    return said


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_it_is_a_terminal_and_hears_of_its_size() -> None:
    terminal = LocalTerminal(["sh"], rows=10, columns=40)
    try:
        terminal.write(b"stty size; tty\n")
        assert b"10 40" in read_until(terminal, b"/dev/pts/")
        terminal.resize(20, 100)
        terminal.write(b"stty size\n")
        read_until(terminal, b"20 100")
        terminal.write(b"exit\n")
        while terminal.read() is not None:
            pass
        eventually(partial(gone, terminal.pid))
    finally:
        terminal.close()


def closed_while_read() -> int:
    """The pid of a program whose terminal was closed while a thread was reading."""
    terminal = LocalTerminal(["sh", "-c", "echo ready; exec sleep 1000"], rows=10, columns=40)
    read_until(terminal, b"ready")
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.append(terminal.read()))
    reader.start()
    terminal.close()
    terminal.close()
    reader.join(PATIENCE)
    assert got == [None]
    with pytest.raises(OSError, match="Bad file"):
        terminal.write(b"x")
    with pytest.raises(OSError, match="Bad file"):
        terminal.resize(5, 5)
    return terminal.pid


def masters() -> set[str]:
    """The ends of terminals that this process has open."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the list itself
            if os.readlink(f"/proc/self/fd/{number}").endswith("ptmx"):
                found.add(number)
    return found


def test_closing_hangs_up_whoever_waits_and_whatever_runs() -> None:
    before = masters()
    eventually(partial(gone, closed_while_read()))
    gc.collect()
    assert masters() <= before


def test_who_does_not_read_does_not_stop_us_for_ever() -> None:
    terminal = LocalTerminal(["sh", "-c", "stty raw -echo; echo ready; sleep 1000"], rows=5,
                             columns=9)  # fmt: skip
    try:
        read_until(terminal, b"ready")
        with pytest.raises(BlockingIOError):
            terminal.write(b"x" * 1_000_000)
    finally:
        terminal.close()


def test_what_cannot_be_run_is_said() -> None:
    with pytest.raises(SyscallFailed, match="execve /no/such"):
        LocalTerminal(["/no/such"], rows=5, columns=9)
