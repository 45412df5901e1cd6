"""Descriptors: kept ones, listening sockets, pid files, console and pidfd sockets, notify."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.runc.conftest import PATIENCE, Machine, as_installed
from tests.waiting import eventually

SHOW = "for n in 3 4 5 6 7 8 9; do readlink /proc/self/fd/$n || echo -; done"


def with_files(machine: Machine, count: int, *words: str, **more: str) -> list[str]:
    """The output of a call that inherits `count` files as 3, 4, …, and is who LISTEN_PID means."""
    script = "export LISTEN_PID=${LISTEN_PID:-$$}; " + "".join(
        f"exec {3 + n}<{machine.directory}/file{n}; " for n in range(count)
    )
    for n in range(count):
        (machine.directory / f"file{n}").write_text(str(n))
    done = subprocess.run(
        ["sh", "-c", script + 'exec "$@"', "sh", *machine.words(*words)], cwd=machine.bundle,
        env={**machine.environment, **more}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_kept_descriptors_and_no_others(ours: Machine) -> None:
    ours.spec("sh", "-c", SHOW)
    files = [str(ours.directory / f"file{n}") for n in range(7)]
    assert with_files(ours, 4, "run", "--preserve-fds", "2", "c") == [*files[:2], *"-----"]
    assert with_files(ours, 4, "run", "c") == list("-------")
    assert with_files(ours, 7, "run", "--preserve-fds", "7", "c") == files


def test_listening_sockets_come_first_and_are_told_of(ours: Machine) -> None:
    ours.spec("sh", "-c", f"{SHOW}; echo $LISTEN_FDS $LISTEN_PID")
    files = [str(ours.directory / f"file{n}") for n in range(3)]
    found = with_files(ours, 3, "run", "--preserve-fds=1", "c", LISTEN_FDS="2")
    assert found == [*files, *"----", "2 1"]


def test_sockets_for_somebody_else_stay_outside(ours: Machine) -> None:
    """LISTEN_FDS that a caller forgot in the environment: 3 is something else by now."""
    ours.spec("sh", "-c", f"{SHOW}; echo $LISTEN_FDS $LISTEN_PID")
    found = with_files(ours, 2, "run", "c", LISTEN_FDS="2", LISTEN_PID="1")
    assert found == [*"-------", ""]


def test_exec_keeps_them_too(ours: Machine) -> None:
    ours.background("c")
    files = [str(ours.directory / f"file{n}") for n in range(2)]
    found = with_files(ours, 2, "exec", "--preserve-fds", "2", "c", "sh", "-c", SHOW)
    assert found == [*files, *"-----"]


def test_exec_tells_whom_the_sockets_are_for(ours: Machine) -> None:
    ours.background("c")
    script = f"{SHOW}; echo $LISTEN_FDS; test $LISTEN_PID = $$ && echo mine"
    files = [str(ours.directory / "file0")]
    for _ in range(3):
        found = with_files(ours, 1, "exec", "c", "sh", "-c", script, LISTEN_FDS="1")
        assert found == [*files, *"------", "1", "mine"]


def test_what_is_to_be_kept_must_be_there(ours: Machine) -> None:
    assert "unable to stat preserved-fd" in ours.fails("run", "--preserve-fds", "3", "c")


def test_the_user_owns_the_streams(ours: Machine) -> None:
    def as_user(document: dict[str, Any]) -> None:
        document["process"]["user"] = {"uid": 1000, "gid": 1000}

    ours.spec("sh", "-c", "echo again > /dev/stdout", change=as_user)
    assert ours.ok("run", "c") == "again\n"


@pytest.fixture
def installed(ours: Machine, tmp_path: Path) -> Machine:
    """The program as it is installed, of the tree that is tested."""
    return as_installed(ours, tmp_path / "bin", f'exec {sys.executable} "$@"')


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_the_null_device(installed: Machine, closed: str) -> None:
    """As under runc: nothing of the runtime's takes its place, neither here nor in a container, and
    what was done is no failure because it could not be told of."""

    def ok(*words: str) -> None:
        script, told = f'exec "$@" {closed}', installed.directory / "told"
        with told.open("w") as errors:  # a container has it for as long as it lives
            done = subprocess.run(
                ["sh", "-c", script, "sh", *installed.words(*words)], cwd=installed.bundle,
                env=installed.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=errors, timeout=PATIENCE, check=False,
            )  # fmt: skip
        assert done.returncode == 0, (words, told.read_text())

    open_ones = {"<&-": "12", ">&-": "02", "2>&-": "01"}.get(closed, "")
    numbers = " ".join(sorted(set("012") - set(open_ones)))
    look = (
        f'for n in {numbers}; do [ "$(readlink /proc/$$/fd/$n)" = /dev/null ] || exit 9; done; '
        "for n in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$n ] || exit 8; done"
    )
    installed.spec("sh", "-c", look)
    ok("run", "r")
    installed.spec("sleep", "1000")
    ok("create", "c")
    for words in (("state", "c"), ("start", "c"), ("pause", "c"), ("list",), ("resume", "c"),
                  ("exec", "c", "sh", "-c", look), ("exec", "c", "sh", "-c", look),
                  ("exec", "c", "sh", "-c", look), ("ps", "c"), ("features",), ("help",),
                  ("kill", "c", "9")):  # fmt: skip
        ok(*words)
    eventually(lambda: installed.status("c") == "stopped")
    ok("delete", "c")


def test_what_cannot_be_written_is_an_error_and_told(installed: Machine) -> None:
    for words in (("features",), ("help",), ("spec", "--help")):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                installed.words(*words), cwd=installed.bundle, env=installed.environment,
                stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True,
                timeout=PATIENCE, check=False,
            )  # fmt: skip
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_pid_file(ours: Machine, tmp_path: Path) -> None:
    ours.spec("sleep", "1000")
    file = tmp_path / "pid"
    ours.quiet("create", "--pid-file", str(file), "c")
    assert file.read_text() == str(ours.state("c")["pid"])
    ours.spec("nosuch")
    ours.fails("create", "--pid-file", str(tmp_path / "other"), "d")
    assert not (tmp_path / "other").exists()


class Listener:
    """A Unix socket that takes one descriptor."""

    def __init__(self, path: Path) -> None:
        self.fd = -1
        self.data = b""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.socket.settimeout(PATIENCE)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def take(self) -> int:
        peer, _ = self.socket.accept()
        with peer:
            peer.settimeout(PATIENCE)
            self.data, control, _, _ = peer.recvmsg(4096, socket.CMSG_SPACE(4))
        (self.fd,) = array.array("i", control[0][2])
        return self.fd


def read_until(fd: int, wanted: bytes) -> bytes:
    found = b""
    while wanted not in found:
        try:
            part = os.read(fd, 4096)
        except OSError:
            part = b""
        assert part, found
        found += part
    return found


def test_console_socket(ours: Machine) -> None:
    def terminal(document: dict[str, Any]) -> None:
        document["process"]["terminal"] = True

    ours.spec("sh", "-c", "tty; read x; echo got $x", change=terminal)
    assert ours.fails("create", "c").endswith(
        "cannot allocate tty if runc will detach without setting console socket"
    )
    with Listener(ours.directory / "s") as listener:
        ours.ok("create", "--console-socket", str(ours.directory / "s"), "c")
        master = listener.take()
    try:
        assert b"ptmx" in listener.data
        ours.ok("start", "c")
        read_until(master, b"/dev/pts/0")
        os.write(master, b"word\n")
        read_until(master, b"got word")
    finally:
        os.close(master)
    ours.ok("delete", "--force", "c")
    ours.background("c")
    where = str(ours.directory / "e")
    with Listener(ours.directory / "e") as listener:
        ours.ok("exec", "-d", "-t", "--console-socket", where, "c", "sh", "-c", "tty; sleep 1000")
        master = listener.take()
    try:
        read_until(master, b"/dev/pts/0")
    finally:
        os.close(master)


def test_pidfd_socket(ours: Machine) -> None:
    ours.spec("sleep", "1000")
    with Listener(ours.directory / "s") as listener:
        ours.quiet("run", "-d", "--pidfd-socket", str(ours.directory / "s"), "c")
        fd = listener.take()
    try:
        info = Path(f"/proc/self/fdinfo/{fd}").read_text()
        assert f"Pid:\t{ours.state('c')['pid']}\n" in info
    finally:
        os.close(fd)


def test_notify_socket(ours: Machine) -> None:
    """A container that says READY=1 makes its start return, and the manager hears of it."""
    address = str(ours.directory / "manager")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.settimeout(PATIENCE)

    def writable(document: dict[str, Any]) -> None:
        document["mounts"].append({"destination": "/run", "type": "tmpfs", "source": "tmpfs"})

    ours.spec("sh", "-c", "echo $NOTIFY_SOCKET; sleep 1000", change=writable)
    ours.environment["NOTIFY_SOCKET"] = address
    out = ours.directory / "out"
    with open(out, "w") as file:
        ours.call("create", "c", capture_output=False, stdout=file)
    pid = ours.state("c")["pid"]
    started = threading.Thread(target=lambda: ours.ok("start", "c"))
    started.start()
    try:
        eventually(lambda: out.read_text() == "/run/notify/notify.sock\n")
        inside = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        inside.sendto(b"STATUS=busy\nREADY=1\n", f"/proc/{pid}/root/run/notify/notify.sock")
        inside.close()
        assert manager.recv(4096) == b"MAINPID=%d\nREADY=1\n" % pid
    finally:
        manager.close()
        ours.environment.pop("NOTIFY_SOCKET")
        started.join(PATIENCE)
    assert not started.is_alive()


def test_keyrings(ours: Machine) -> None:
    """By default a session keyring of its own, named after the container."""
    show = "cat /proc/keys"

    def unmasked(document: dict[str, Any]) -> None:
        document["linux"]["maskedPaths"] = []

    ours.spec("sh", "-c", show, change=unmasked)
    # names of which the machine, which shows the keyrings of everybody, has none yet
    first, second = (f"k{os.getpid()}-{time.monotonic_ns()}-{n}" for n in (1, 2))
    assert f"_ses.{first}:" in ours.ok("run", first)
    assert f"_ses.{second}:" not in ours.ok("run", "--no-new-keyring", second)
