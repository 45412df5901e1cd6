"""The shim's door: who is let in, and what nonsense at it does (an error, or nothing)."""

from __future__ import annotations

import os
import random
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import MobyshellError, UsageError
from mobyshell.core.tasks import wire
from mobyshell.core.tasks.client import TaskClient
from mobyshell.core.tasks.connect import connect
from mobyshell.core.tasks.server import VERSION
from mobyshell.core.tasks.words import Words
from tests.core.tasks.conftest import House
from tests.waiting import eventually

pytestmark = pytest.mark.root


def raw(house: House) -> socket.socket:
    """A connection that has been greeted, to talk nonsense on."""
    connect(str(house.state)).close()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(10)
    parent = os.open(house.state, os.O_PATH)
    try:
        sock.connect(f"/proc/self/fd/{parent}/shim.sock")
    finally:
        os.close(parent)
    decoder: list[tuple[int, bytes]] = []
    reader = wire.Decoder()
    while not decoder:
        decoder += list(reader.feed(sock.recv(4096)))
    assert wire.parse_message(decoder[0][1])["hello"] == VERSION
    return sock


def answers(sock: socket.socket) -> list[dict[str, object]]:
    """Everything the shim says until it hangs up or is silent."""
    sock.settimeout(0.3)
    reader, found = wire.Decoder(), []
    try:
        while data := sock.recv(65536):
            found += [wire.parse_message(payload) for _, payload in reader.feed(data)]
    except (TimeoutError, ConnectionError):
        pass
    return found


def shim_is_well(house: House, pid: int) -> bool:
    """The same shim still does its work."""
    assert house.pids()[1] == pid
    id = house.sh("exit 3")
    assert house.client.wait(id, timeout=60) == 3
    house.client.delete(id)
    return True


NONSENSE = {
    "random": random.Random(1).randbytes(100_000),
    "zeros": bytes(100_000),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a frame that never ends": wire.HEADER.pack(wire.MAX_MESSAGE, wire.MESSAGE) + b"{",
    "too big a frame": wire.HEADER.pack(wire.MAX_MESSAGE + 1, wire.MESSAGE),
    "no kind": wire.HEADER.pack(0, 200),
    "not attached": wire.frame(wire.STDIN, b"x"),
    "not json": wire.frame(wire.MESSAGE, b"{" * 1000),
    "deep": wire.frame(wire.MESSAGE, b"[" * 1_000_000),
    "deep object": wire.frame(wire.MESSAGE, b'{"a":' * 500_000),
    "a list": wire.message([]),  # type: ignore[arg-type]
    "no verb": wire.message({"id": 1}),
    "id is text": wire.message({"id": "1", "verb": "wait", "namespace": "default"}),
    "args is a list": wire.message({"id": 1, "verb": "wait", "namespace": "default", "args": []}),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_answered_with_an_error_or_the_door(house: House, name: str) -> None:
    shim = house.pids()[1]
    with raw(house) as sock:
        try:
            sock.sendall(NONSENSE[name])
        except ConnectionError:
            pass  # it hung up in the middle: right so
        for answer in answers(sock):
            assert "malformed" in str(answer["error"])
    assert shim_is_well(house, shim)


REQUESTS: list[dict[str, Any]] = [
    {"verb": "nothing"},
    {"verb": "create"},
    {"verb": "create", "args": {"id": "x" * 1000, "bundle": "/x"}},
    {"verb": "create", "args": {"id": "x", "bundle": "relative"}},
    {"verb": "create", "args": {"id": "x", "bundle": "/no\0where"}},
    {"verb": "create", "args": {"id": "x", "bundle": "/nowhere"}},
    {"verb": "create", "args": {"id": "x", "bundle": "/", "rows": -1}},
    {"verb": "create", "args": {"id": "x", "bundle": "/", "rows": 2**70}},
    {"verb": "create", "args": {"id": "x", "bundle": "/", "args": [1]}},
    {"verb": "create", "args": {"id": "x", "bundle": "/", "terminal": "yes"}},
    {"verb": "start", "args": {"id": ["a"]}},
    {"verb": "start", "args": {"id": "../../etc"}},
    {"verb": "kill", "args": {"id": "x", "signal": "KILL"}},
    {"verb": "kill", "args": {"id": "x", "signal": True}},
    {"verb": "wait", "args": {}},
    {"verb": "attach", "args": {"id": "x", "exec_id": "../x"}},
    {"verb": "update", "args": {"id": "x", "resources": 3}},
    {"verb": "exec", "args": {"id": "x", "args": ["a"], "exec_id": "../../x"}},
    {"verb": "wait", "namespace": "../x", "args": {"id": "x"}},
    {"verb": "wait", "namespace": "shim.sock", "args": {"id": "x"}},
]


def test_wrong_words_are_errors_of_the_tree_and_the_connection_goes_on(house: House) -> None:
    shim = house.pids()[1]
    connection = connect(str(house.state))
    try:
        for request in REQUESTS:
            with pytest.raises(MobyshellError) as caught:
                connection.request(
                    request["verb"], request.get("namespace", "default"), request.get("args", {})
                )
            assert "stumbled" not in caught.value.message, request
            assert "\n" not in caught.value.message
        connection.request("sync", "default", {})
    finally:
        connection.close()
    assert shim_is_well(house, shim)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("t1"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
arguments = st.dictionaries(
    st.sampled_from(["id", "bundle", "args", "signal", "exec_id", "resources", "user", "env",
                     "terminal", "stdin", "rows", "all", "force", "input", "resume", "cwd"]),
    values, max_size=6,
)  # fmt: skip
verbs = st.sampled_from(["create", "start", "exec", "kill", "pause", "resume", "delete", "update",
                         "wait", "attach", "events", "sync", "x"])  # fmt: skip


def test_any_words_at_all_leave_the_shim_well(house: House) -> None:
    shim = house.pids()[1]
    guest = connect(str(house.state))  # it would leave while hypothesis thinks

    @settings(
        max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )  # fmt: skip
    @given(st.lists(st.tuples(verbs, arguments), min_size=1, max_size=5))
    def check(requests: list[tuple[str, dict[str, object]]]) -> None:
        connection = connect(str(house.state))
        try:
            for verb, args in requests:
                try:
                    connection.request(verb, "default", args, 10)
                except MobyshellError as error:
                    assert "stumbled" not in error.message
        finally:
            connection.close()

    try:
        check()
        assert house.client.ls() == []
        assert shim_is_well(house, shim)
    finally:
        guest.close()


@given(values)
def test_words_are_checked_one_by_one(value: object) -> None:
    words = Words({"a": value})
    for check, kind in (
        (words.text, str), (words.flag, bool), (words.number, int), (words.table, dict),
        (words.size, int),
    ):  # fmt: skip
        try:
            found = check("a")
        except UsageError as error:
            assert "argument a" in error.message
        else:
            assert isinstance(found, kind)


def test_another_user_is_not_let_in(house: House) -> None:
    """Nobody cannot reach the socket; and where it could (a root of wide open directories, as a
    bind mount can make), it is refused by its credentials."""
    keeping = connect(str(house.state))  # the shim stays while there is a client
    code = """
import os, socket, sys
os.setgroups([]); os.setgid(65534)
path = sys.argv[1]
fd = os.open(os.path.dirname(path), os.O_PATH)
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(f"/proc/self/fd/{fd}/shim.sock")
    s.settimeout(60)
    print("connected", len(s.recv(100)))
except PermissionError:
    print("denied")
"""
    where = str(house.state / "shim.sock")
    asked = [sys.executable, "-c", code, where]
    assert subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "denied\n"
    (house.state / "shim.sock").chmod(0o777)
    house.state.chmod(0o755)
    try:
        found = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert found.stdout == "connected 0\n", found.stderr
    finally:
        house.state.chmod(0o700)
        keeping.close()


def test_the_socket_and_what_is_beside_it_are_the_owners_alone(house: House) -> None:
    id = house.sh("echo said; exec sleep 60")
    eventually(lambda: house.output(id) == b"said\n")
    for name in ("shim.sock", "shim.lock", "shim.log", "staging"):
        assert (house.state / name).stat().st_mode & 0o077 == 0, name
    assert house.state.stat().st_mode & 0o077 == 0
    task = house.state / "default" / id / "task"
    assert task.stat().st_mode & 0o077 == 0
    assert {one.name for one in task.iterdir()} >= {"process.json", "stdout", "stderr", "logs"}


def test_nothing_listens_where_a_network_namespace_is_all_it_takes(house: House) -> None:
    """CVE-2020-15257: an abstract socket is reached by every container in the host's network, whatever
    it has for a root. Success: a process of ours has one."""
    id = house.run("sleep", "60")
    house.client.exec(id, ["sleep", "60"], terminal=True)
    inodes = set()
    for pid in house.pids():
        for one in Path(f"/proc/{pid}/fd").iterdir():
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(one))
            inodes |= {found[1]} if found else set()
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    named = [row[7] for row in rows if len(row) > 7 and row[6] in inodes]
    assert any(name.endswith("/shim.sock") for name in named)  # by a short path of its directory
    assert [name for name in named if name.startswith("@")] == []


def test_a_client_that_asks_and_never_reads_is_held_up_not_stored(house: House) -> None:
    shim = house.pids()[1]
    with raw(house) as sock:
        sock.settimeout(2)
        request = wire.message(
            {"id": 1, "verb": "x" * 60_000, "namespace": "default", "args": {"y": "z" * 60_000}}
        )
        sent = 0
        try:
            for _ in range(2000):
                sock.sendall(request)
                sent += len(request)
        except TimeoutError:
            pass
        assert shim_is_well(house, shim)
        with open(f"/proc/{shim}/status") as file:
            rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        assert rss < 60_000


def test_a_listener_that_never_reads_is_held_up_not_stored(house: House) -> None:
    shim = house.pids()[1]
    with raw(house) as sock:
        sock.sendall(wire.message({"id": 1, "verb": "events", "namespace": "default", "args": {}}))
        for _ in range(25):
            house.client.delete(house.run("true"), force=True)
        with open(f"/proc/{shim}/status") as file:
            rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        assert rss < 60_000
        assert shim_is_well(house, shim)


def test_clients_that_come_and_go_leave_nothing(house: House) -> None:
    id = house.run("sleep", "60")
    shim = house.pids()[1]
    before = len(os.listdir(f"/proc/{shim}/fd"))
    for turn in range(60):
        with raw(house) as sock:
            verb = ("wait", "attach", "events")[turn % 3]
            sock.sendall(wire.message(
                {"id": 1, "verb": verb, "namespace": "default", "args": {"id": id}}
            ))  # fmt: skip
            if turn % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: len(os.listdir(f"/proc/{shim}/fd")) <= before)
    assert shim_is_well(house, shim)


def test_a_long_state_path_works(house: House, tmp_path: Path) -> None:
    """sun_path has 108 bytes; the socket is reached through a descriptor of its directory."""
    state = tmp_path / ("d" * 100) / ("e" * 100)
    with TaskClient(state) as client:
        id = house.run("true", client=client)
        assert client.wait(id, timeout=60) == 0
        client.delete(id)
    eventually(lambda: not (state / "shim.lock").exists())


def test_a_stale_socket_and_lock_are_no_hindrance(house: House) -> None:
    house.state.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        parent = os.open(house.state, os.O_PATH)
        stale.bind(f"/proc/self/fd/{parent}/shim.sock")
        os.close(parent)
    (house.state / "shim.lock").touch()
    begun = time.monotonic()
    assert shim_is_well(house, house.pids()[1])
    assert time.monotonic() - begun < 10
