"""The shim's debug socket, and the keeper's last words: answered, and in nobody's way."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mobyshell.core.debug.request import Request
from mobyshell.core.debug.tree import totals
from mobyshell.core.debug.values import from_wire
from mobyshell.core.errors import MobyshellError, Unsupported
from mobyshell.core.tasks import attachable
from mobyshell.core.tasks.connect import connect
from mobyshell.core.tasks.paths import DEBUG_SOCKET
from tests.core.tasks.conftest import House
from tests.waiting import eventually

pytestmark = pytest.mark.root


def dial(house: House) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(60)
    parent = os.open(house.state, os.O_PATH)
    try:
        sock.connect(f"/proc/self/fd/{parent}/{DEBUG_SOCKET}")
    finally:
        os.close(parent)
    return sock


def test_nothing_is_loaded_before_somebody_asks_and_the_socket_is_the_owners(house: House) -> None:
    keep = connect(str(house.state))
    try:
        loaded = Path(f"/proc/{keep.shim_pid}/maps").read_text()
        assert "_tracemalloc" not in loaded
        assert stat.S_IMODE((house.state / DEBUG_SOCKET).stat().st_mode) == 0o600
        assert len(os.listdir(f"/proc/{keep.shim_pid}/task")) == 1
        told = attachable.ask(attachable.find(keep.shim_pid), Request("stacks"))
        assert told["pid"] == keep.shim_pid
        assert "Loop.run" in [frame[0] for frame in told["threads"][0]["frames"]]
        assert len(os.listdir(f"/proc/{keep.shim_pid}/task")) == 1
    finally:
        keep.close()


def test_a_verb_that_waits_is_among_what_is_suspended(house: House) -> None:
    config = house.bundle / "config.json"
    document = json.loads(config.read_text())
    document["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "2"]}]}
    config.write_text(json.dumps(document))
    asked = connect(str(house.state))
    thread = threading.Thread(target=lambda: house.run("true", start=False))
    thread.start()

    def waits() -> bool:
        told = attachable.ask(attachable.shim_of(str(house.state)), Request("stacks"))
        return any("create" in frame[0] for one in told["suspended"] for frame in one["frames"])

    try:
        eventually(waits)
    finally:
        thread.join()
        asked.close()


def test_flame_and_heap_of_a_shim_at_work(house: House) -> None:
    id = house.run("sleep", "1000")
    shim = attachable.shim_of(str(house.state))
    process = subprocess.Popen(
        [sys.executable, "-c", f"""if 1:
        from mobyshell.core.tasks.client import TaskClient
        with TaskClient({str(house.state)!r}, {house.client.namespace!r}) as tasks:
            for n in range(2000):
                tasks.pause({id!r}); tasks.resume({id!r})
        """],
    )  # fmt: skip
    try:
        profile = from_wire(attachable.ask(shim, Request("flame", seconds=2, hertz=250)))
        names = {one.frame.name for one in totals(profile)}
        assert "Loop._turn" in names
        assert 0 < profile.ns < 60e9
        walled = from_wire(attachable.ask(shim, Request("flame", seconds=0.5, clock="wall")))
        assert walled.ns > 0.2e9
        heap = attachable.ask(shim, Request("heap", seconds=0.5))
        assert heap["allocated"]
        assert heap["frozen"] > 0
    finally:
        process.kill()
        process.wait()
    house.client.delete(id, force=True)


def test_who_is_silent_too_many_or_too_loud_does_not_hinder_the_shim(house: House) -> None:
    id = house.run("sleep", "1000")
    pid = house.pids()[1]
    crowd: list[socket.socket] = []
    try:
        for _ in range(20):
            crowd.append(dial(house))
        for one in crowd[10:]:
            try:
                for _ in range(50):
                    one.send(b"GET /debug/" + b"x" * 100_000, socket.MSG_DONTWAIT)
            except OSError:
                pass
        assert house.pids()[1] == pid
        assert house.client.exec(id, ["true"]).pid > 0
        # the silent ones are shown out after a while
        eventually(lambda: crowd[0].recv(10) == b"", 60)
    finally:
        for one in crowd:
            one.close()
    assert attachable.ask(attachable.shim_of(str(house.state)), Request("stacks"))["pid"] == pid
    house.client.delete(id, force=True)


def test_who_leaves_while_it_is_sampled_takes_the_timer_along(house: House) -> None:
    id = house.run("sleep", "1000")
    shim = attachable.shim_of(str(house.state))
    asker = dial(house)
    asker.sendall(b"GET /debug/flame?seconds=300&clock=wall&hertz=1000 HTTP/1.1\r\n\r\n")
    caught = 1 << (signal.SIGALRM - 1)

    def catches() -> bool:
        for line in Path(f"/proc/{shim.pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) & caught)
        return False

    eventually(catches, 60)
    with pytest.raises(MobyshellError, match="somebody else is watching"):
        attachable.ask(shim, Request("heap", seconds=1))
    asker.close()
    eventually(lambda: not catches(), 60)
    attachable.ask(shim, Request("heap", seconds=0.01))
    house.client.delete(id, force=True)


def test_another_user_is_refused(house: House) -> None:
    id = house.run("sleep", "1000")
    sock = str(house.state / DEBUG_SOCKET)
    os.chmod(sock, 0o666)  # as if the mode did not keep it out: its credentials do
    program = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(60)\n"
        "os.chdir(sys.argv[1]); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s.connect('debug.sock')\n"
        "try:\n    s.sendall(b'GET /debug/stacks HTTP/1.1\\r\\n\\r\\n'); print(len(s.recv(100)))\n"
        "except OSError: print(0)\n"
    )
    os.chmod(house.state, 0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(house.state)],
        capture_output=True,
        text=True,
        check=False,
    )
    os.chmod(house.state, 0o700)
    assert done.stdout == "0\n", done.stderr
    house.client.delete(id, force=True)


def test_it_is_there_after_the_keeper_or_the_shim_was_killed(house: House) -> None:
    id = house.run("sleep", "1000")
    keeper, shim = house.pids()
    os.kill(keeper, signal.SIGKILL)

    def other(before: int) -> bool:
        try:
            return house.pids()[1] != before
        except MobyshellError:
            return False

    eventually(lambda: other(shim), 60)
    second = house.pids()[1]
    told = attachable.ask(attachable.shim_of(str(house.state)), Request("stacks"))
    assert told["pid"] == second
    os.kill(second, signal.SIGKILL)
    eventually(lambda: other(second), 60)
    told = attachable.ask(attachable.shim_of(str(house.state)), Request("stacks"))
    assert told["pid"] == house.pids()[1]
    house.client.delete(id, force=True)


def test_the_keeper_writes_down_where_it_is(house: House) -> None:
    id = house.run("sleep", "1000")
    keeper = attachable.find(house.pids()[0])
    assert keeper.role == "keeper"
    lines = list(attachable.last_words(keeper))
    assert any(line.endswith(" in run") for line in lines)
    with pytest.raises(Unsupported):
        attachable.ask(keeper, Request("flame", seconds=1))
    shim = attachable.shim_of(str(house.state))
    assert any(line.endswith(" in _turn") for line in attachable.last_words(shim))
    assert house.pids() == (keeper.pid, shim.pid)
    (house.state / "shim.log").write_text("")  # what a shim complains of is there, too
    house.client.delete(id, force=True)


def test_the_socket_goes_with_the_shim(house: House) -> None:
    id = house.sh("exit 0")
    house.client.wait(id, timeout=60)
    house.client.delete(id)
    asker = dial(house)
    house.client.close()
    time.sleep(0.5)  # longer than it lingers: a client of this door holds it, for a while
    assert (house.state / DEBUG_SOCKET).exists()
    asker.close()
    eventually(lambda: not (house.state / DEBUG_SOCKET).exists(), 60)
