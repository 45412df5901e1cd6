"""The state directory: one owner of an id, whatever was killed; distrust of what lies there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound, UsageError
from mobyshell.core.linux import procfs
from mobyshell.core.runtime import directories
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.list import list_states
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Status
from mobyshell.core.values import names


def sample(id: str = "c", **more: Any) -> State:
    pid = os.getpid()
    made = State(id=id, pid=pid, pid_start=procfs.start_time(pid), bundle="/b", rootfs="/b/rootfs",
                 created_ns=1_700_000_000_123_456_789)  # fmt: skip
    return replace(made, **more)


def place(root: Path, state: State) -> Path:
    path = root / state.id
    path.mkdir(parents=True, exist_ok=True)
    states.write(path, state)
    return path


def dead() -> tuple[int, int]:
    """Pid and start time of a process that has ended."""
    process = subprocess.Popen(["sleep", "1000"])
    start = procfs.start_time(process.pid)
    process.kill()
    process.wait()
    return process.pid, start


def test_what_is_written_is_read(tmp_path: Path) -> None:
    state = sample(cgroups={"": "/x", "pids": "/y"}, namespaces=("pid", "user"), args=("a", "ü\udc80"),
                   annotations={"k": "v"}, exit_status=137, terminal=True)  # fmt: skip
    path = place(tmp_path, state)
    assert states.read(tmp_path, "c") == state
    assert os.stat(path / "state.json").st_mode & 0o777 == 0o600
    assert os.listdir(path) == ["state.json"]


def test_the_id_is_the_lock(tmp_path: Path) -> None:
    path = directories.reserve(tmp_path / "root", "c")
    assert os.stat(path).st_mode & 0o777 == 0o711
    with pytest.raises(AlreadyExists, match="container with given ID already exists: c"):
        directories.reserve(tmp_path / "root", "c")
    directories.forget(path)
    directories.reserve(tmp_path / "root", "c")


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "../a", "a\0", "-a", "a" * 200, "ä", "a b"])
def test_malformed_ids(tmp_path: Path, id: str) -> None:
    for verb in (directories.reserve, states.read, states.directory):
        with pytest.raises(UsageError, match="invalid container ID"):
            verb(tmp_path, id)
    assert os.listdir(tmp_path) == []


RACE = """
import sys, time
from pathlib import Path
from mobyshell.core.errors import AlreadyExists
from mobyshell.core.runtime import directories
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    directories.reserve(Path(sys.argv[1]), "c"); print("won", flush=True); sys.stdin.read()
except AlreadyExists:
    print("lost", flush=True)
"""


@pytest.mark.parametrize("leftover", [False, True])
def test_of_many_processes_that_reserve_an_id_one_wins(tmp_path: Path, leftover: bool) -> None:
    for _ in range(3):
        if leftover:  # that of a killed creator, which all of them find, and want to clear away
            (tmp_path / "c").mkdir()
            pid, start = dead()
            (tmp_path / "c" / "creator").write_text(f"{pid} {start}")
        begin = str(time.time() + 0.6)
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACE, str(tmp_path), begin], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for _ in range(6)
        ]  # fmt: skip
        said = [one.stdout.readline().strip() for one in racers if one.stdout is not None]
        for one in racers:
            one.communicate()
        assert sorted(said) == ["lost"] * 5 + ["won"]
        directories.forget(tmp_path / "c")


def test_a_directory_of_a_living_creator_is_left_alone(tmp_path: Path) -> None:
    path = directories.reserve(tmp_path, "c")
    assert not directories.clear_abandoned(path)
    assert list_states(tmp_path) == []


def test_a_killed_creators_directory_makes_way(tmp_path: Path) -> None:
    pid, start = dead()
    for name, content in (("creator", f"{pid} {start}"), ("config.json", "{}"), ("x", "y")):
        (tmp_path / "c").mkdir(exist_ok=True)
        (tmp_path / "c" / name).write_text(content)
    path = directories.reserve(tmp_path, "c")
    assert os.listdir(path) == ["creator"]


def test_a_creator_killed_after_it_wrote_the_state(tmp_path: Path) -> None:
    pid, start = dead()
    path = place(tmp_path, sample(pid=pid, pid_start=start))
    (path / "creator").write_text(f"{pid} {start}")
    assert list_states(tmp_path) == []  # there was never a container
    directories.reserve(tmp_path, "c")


def test_a_container_outlives_a_creator_killed_at_the_very_end(tmp_path: Path) -> None:
    pid, start = dead()
    path = place(tmp_path, sample())
    (path / "exec.fifo").touch()
    (path / "creator").write_text(f"{pid} {start}")
    assert [status for _, status in list_states(tmp_path)] == [Status.CREATED]
    with pytest.raises(AlreadyExists):
        directories.reserve(tmp_path, "c")


def test_what_is_not_provably_ours_is_not_removed(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "thesis").write_text("ten years of work")
    os.utime(documents, (1, 1))
    list_states(tmp_path)
    with pytest.raises(AlreadyExists):
        directories.reserve(tmp_path, "documents")
    assert (documents / "thesis").exists()


def test_an_empty_directory_makes_way_when_it_is_old(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with pytest.raises(AlreadyExists):  # its creator may be about to sign it
        directories.reserve(tmp_path, "c")
    os.utime(tmp_path / "c", (1, 1))
    directories.reserve(tmp_path, "c")


def test_forget_spares_a_successor(tmp_path: Path) -> None:
    old = sample(pid=1, pid_start=5)
    path = place(tmp_path, old)
    assert directories.forget(path, old)
    assert not directories.forget(path, old)
    new = sample()
    place(tmp_path, new)
    assert not directories.forget(path, old)
    assert states.read(tmp_path, "c") == new


def test_the_next_create_finishes_an_interrupted_forget(tmp_path: Path) -> None:
    (tmp_path / ".gone-5-abc" / "task").mkdir(parents=True)
    directories.reserve(tmp_path, "c")
    assert os.listdir(tmp_path) == ["c"]


def test_the_exit_is_remembered(tmp_path: Path) -> None:
    state = sample()
    place(tmp_path, state)
    states.record_exit(tmp_path, state, 137, 99)
    assert states.read(tmp_path, "c") == replace(state, exit_status=137, exited_ns=99)
    states.record_exit(tmp_path, replace(state, pid_start=1), 0, 1)  # of another
    assert states.read(tmp_path, "c").exit_status == 137
    states.record_exit(tmp_path, sample("gone"), 0, 1)


def test_status_is_what_the_kernel_says(tmp_path: Path) -> None:
    state = sample()
    path = place(tmp_path, state)
    assert states.status(tmp_path, state) is Status.RUNNING
    (path / "exec.fifo").touch()
    assert states.status(tmp_path, state) is Status.CREATED
    directories.forget(path)
    directories.reserve(tmp_path, "c")
    states.write(path, state)
    (path / "exec.fifo").touch()
    assert states.status(tmp_path, state) is Status.CREATING
    pid, start = dead()
    assert states.status(tmp_path, replace(state, pid=pid, pid_start=start)) is Status.STOPPED
    # another process has the number now
    assert states.status(tmp_path, replace(state, pid_start=start - 1)) is Status.STOPPED


def test_a_zombie_has_stopped(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "1000"])
    state = sample(pid=process.pid, pid_start=procfs.start_time(process.pid))
    assert states.status(tmp_path, state) is Status.RUNNING
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert states.status(tmp_path, state) is Status.STOPPED
    process.wait()


def test_the_spec_form_of_a_state() -> None:
    state = sample(annotations={"a": "b"}, oci_version="1.0.2-dev")
    assert states.oci_state(state, Status.RUNNING) == {
        "ociVersion": "1.0.2-dev", "id": "c", "status": "running", "pid": os.getpid(),
        "bundle": "/b", "rootfs": "/b/rootfs", "created": "2023-11-14T22:13:20.123456789Z",
        "annotations": {"a": "b"},
    }  # fmt: skip
    assert states.oci_state(sample(), Status.STOPPED)["pid"] == 0
    assert list(states.oci_state(state, Status.RUNNING))[:4] == [
        "ociVersion",
        "id",
        "pid",
        "status",
    ]


def test_list_is_sorted_and_of_this_root(tmp_path: Path) -> None:
    for id in ("b", "a", "c.1"):
        place(tmp_path, sample(id))
    assert [state.id for state, _ in list_states(tmp_path)] == ["a", "b", "c.1"]
    assert list_states(tmp_path / "nothing") == []
    assert list_states(tmp_path / "a" / "state.json") == []


def test_a_directory_that_tells_of_another_id_is_passed_over(tmp_path: Path) -> None:
    path = place(tmp_path, sample("a"))
    os.rename(path, tmp_path / "b")
    assert list_states(tmp_path) == []
    with pytest.raises(MobyshellError, match="is damaged"):
        states.read(tmp_path, "b")


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "socket", "huge"])
def test_a_state_that_is_no_file_is_an_error_and_no_wait(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "c"
    path.mkdir()
    file = path / "state.json"
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "directory":
        file.mkdir()
    elif kind == "link":
        real = place(tmp_path / "other", sample())
        file.symlink_to(real / "state.json")
    elif kind == "socket":
        os.mknod(file, 0o140600)
    else:
        with open(file, "wb") as out:
            out.truncate(1 << 40)
    with pytest.raises(MobyshellError):
        states.read(tmp_path, "c")
    assert [state.id for state, _ in list_states(tmp_path)] == []


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="container does not exist: c"):
        states.read(tmp_path, "c")
    (tmp_path / "c").write_text("a file")
    with pytest.raises(NotFound):
        states.read(tmp_path, "c")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.sampled_from(names(State))
GOOD = {"id": "c", "pid": 1, "pid_start": 1, "bundle": "/b", "rootfs": "/r", "created_ns": 1}
CONTENT = st.one_of(
    st.binary(max_size=200),
    st.dictionaries(FIELDS, VALUES, max_size=12).map(lambda d: json.dumps(d).encode()),
    st.dictionaries(FIELDS, VALUES, max_size=3).map(lambda d: json.dumps({**GOOD, **d}).encode()),
    st.sampled_from([b"[" * 100_000, b'{"id":' * 50_000, b'{"pid":1' + b"0" * 5000 + b"}"]),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=CONTENT, name=st.sampled_from(["state.json", "creator", "cgroups.json"]))
def test_list_never_raises(tmp_path_factory: pytest.TempPathFactory, content: bytes,
                           name: str) -> None:  # fmt: skip
    root = tmp_path_factory.getbasetemp() / "garbage"
    path = root / "c"
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(content)
    for state, status in list_states(root):
        assert state.id == "c"
        assert isinstance(status, Status)
        states.oci_state(state, status)
