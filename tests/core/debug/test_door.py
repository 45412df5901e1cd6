"""The door of a face: closed until somebody knocks, then answering, with limits. Real processes."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mobyshell.core.debug.door import DIRECTORY, KNOCK
from mobyshell.core.debug.request import Request
from mobyshell.core.debug.tree import totals
from mobyshell.core.debug.values import from_wire
from mobyshell.core.errors import MobyshellError, NotFound, TimedOut
from mobyshell.core.tasks import attachable
from tests.waiting import eventually

BUSY = """
import sys, time
from mobyshell.core.debug.door import hang
def busy():
    until = time.monotonic() + 300
    while time.monotonic() < until:
        sum(range(500))
hang(lambda: sys.argv[2])
print("hung", "threading" in sys.modules, "mobyshell.core.debug.attend" in sys.modules, flush=True)
busy()
"""


@contextmanager
def face(state: Path, program: str = BUSY) -> Iterator[subprocess.Popen[str]]:
    state.mkdir(exist_ok=True)
    words = [sys.executable, "-c", program, "mobyshell", str(state)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "hung False False\n"
            yield process
        finally:
            process.kill()


def test_nothing_is_open_before_a_knock_and_then_the_busy_function_is_the_widest(
    tmp_path: Path,
) -> None:
    state = tmp_path / ("x" * 100)
    with face(state) as process:
        found = attachable.find(process.pid)
        assert (found.role, found.state) == ("face", "")
        assert not (state / DIRECTORY).exists()
        told = attachable.ask(found, Request("stacks"))
        main = next(one for one in told["threads"] if one["label"] == "MainThread")
        assert "busy" in [frame[0] for frame in main["frames"]]
        path = state / DIRECTORY / str(process.pid)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert attachable.find(process.pid).state == str(state)
        profile = from_wire(attachable.ask(found, Request("flame", seconds=1)))
        first = max(totals(profile), key=lambda one: one.own_ns)
        assert first.frame.name == "busy"
        assert first.own_ns > 0.8 * profile.ns
        heap = attachable.ask(found, Request("heap", seconds=0.1))
        assert heap["objects"]


def test_a_door_that_can_be_seen_is_open(tmp_path: Path) -> None:
    slow = BUSY.replace(
        "def busy", """
import socket
listen = socket.socket.listen
def slowly(self, *args):
    time.sleep(1)
    listen(self, *args)
socket.socket.listen = slowly
def busy""", 1)  # fmt: skip
    with face(tmp_path / "state", slow) as process:
        told = attachable.ask(attachable.find(process.pid), Request("stacks"))
        assert told["pid"] == process.pid


def test_it_answers_several_and_is_not_held_up_by_the_silent_or_the_loud(tmp_path: Path) -> None:
    with face(tmp_path / "state") as process:
        found = attachable.find(process.pid)
        attachable.ask(found, Request("stacks"))
        path = str(tmp_path / "state" / DIRECTORY / str(process.pid))
        silent = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        loud = socket.socket(socket.AF_UNIX)
        for one in (*silent, loud):
            one.connect(path)
        with pytest.raises(ConnectionError):
            loud.sendall(b"x" * 10_000_000)
        assert attachable.ask(found, Request("stacks"))["pid"] == process.pid
        for one in (*silent, loud):
            one.close()


def test_who_leaves_makes_room_for_the_next(tmp_path: Path) -> None:
    with face(tmp_path / "state") as process:
        found = attachable.find(process.pid)
        attachable.ask(found, Request("stacks"))

        def watch() -> socket.socket:
            leaver = socket.socket(socket.AF_UNIX)
            leaver.connect(str(tmp_path / "state" / DIRECTORY / str(process.pid)))
            leaver.sendall(b"GET /debug/heap?seconds=300 HTTP/1.1\r\n\r\n")
            return leaver

        def watched() -> bool:
            try:
                attachable.ask(found, Request("heap", seconds=0.01))
            except MobyshellError as error:
                assert "somebody else is watching" in error.message
                return True
            return False

        leaver = watch()
        try:
            while not watched():
                if select.select([leaver], [], [], 1)[0]:  # it was our own looking that it met
                    leaver.close()
                    leaver = watch()
        finally:
            leaver.close()
        eventually(lambda: not watched())


def test_a_socket_goes_with_its_process_and_one_of_a_killed_one_with_the_next(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    with face(state) as killed:
        attachable.ask(attachable.find(killed.pid), Request("stacks"))
    assert os.listdir(state / DIRECTORY) == [str(killed.pid)]
    ends = BUSY.replace("time.monotonic() < until", "not os.path.exists(sys.argv[2] + '/end')")
    with face(state, ends.replace("import sys", "import os, sys")) as process:
        attachable.ask(attachable.find(process.pid), Request("stacks"))
        assert os.listdir(state / DIRECTORY) == [str(process.pid)]
        (state / "end").touch()
        process.wait(60)
        assert os.listdir(state / DIRECTORY) == []


def test_who_has_no_door_is_not_knocked_at() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            with pytest.raises(NotFound, match="none of mobyshell's"):
                attachable.find(process.pid)
            one = attachable.Attachable(process.pid, "face", os.geteuid(), "", ())
            with pytest.raises(NotFound):
                attachable.ask(one, Request("stacks"))
            assert process.poll() is None
        finally:
            process.kill()
    with pytest.raises(NotFound, match="no process"):
        attachable.find(process.pid)


def test_somebody_elses_socket_is_not_believed(tmp_path: Path) -> None:
    from mobyshell.core.debug.client import ask

    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(str(tmp_path / "s"))
        impostor.listen()
        with pytest.raises(MobyshellError, match="somebody else"):
            ask(str(tmp_path / "s"), 1, os.geteuid(), Request("stacks"))
        with pytest.raises(TimedOut):
            ask(str(tmp_path / "s"), os.getpid(), os.geteuid(), Request("stacks"), patience=0.1)
    with pytest.raises(NotFound):
        ask(str(tmp_path / "s"), 0, os.geteuid(), Request("stacks"))


def test_a_process_without_a_state_root_goes_on_when_it_is_knocked_at(tmp_path: Path) -> None:
    with face(tmp_path / "state", BUSY.replace("sys.argv[2])", "1 / 0)")) as process:
        for _ in range(3):
            process.send_signal(KNOCK)
            time.sleep(0.1)
        assert process.poll() is None
        assert not (tmp_path / "state" / DIRECTORY).exists()
        process.send_signal(signal.SIGTERM)
