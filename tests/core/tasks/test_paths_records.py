"""Names, places and records: defaults, refusals, and statuses that never lie for long."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError, NotFound, UsageError
from mobyshell.core.runtime.values import Status
from mobyshell.core.tasks import paths, view
from mobyshell.core.tasks.records import (
    EXIT,
    RECORD,
    Record,
    process_start,
    read_exit,
    read_record,
    text_of,
    write_record,
    zombie_status,
)


@pytest.mark.parametrize("name", ["a", "web.1", "0_x-y+z", "a" * 76])
def test_good_names(name: str) -> None:
    assert paths.check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "-a", ".a", "a\0b", "ä", "a b", "a" * 77, "a\n"]
)
def test_bad_names_are_usage_errors(name: str) -> None:
    with pytest.raises(UsageError):
        paths.check_name(name)


def test_the_shims_own_files_are_no_namespaces() -> None:
    for name in paths.RESERVED:
        with pytest.raises(UsageError):
            paths.check_name(name, "namespace")


def test_the_state_root_is_the_environments_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MOBYSHELL_STATE", str(tmp_path / "x" / ".." / "y"))
    assert paths.state_root() == str(tmp_path / "y")
    monkeypatch.delenv("MOBYSHELL_STATE")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert paths.state_root() == "/run/mobyshell"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert paths.state_root() == f"{tmp_path}/mobyshell"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="state of running tasks"):
        paths.state_root()


def test_the_namespace_is_the_environments_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOBYSHELL_NAMESPACE", raising=False)
    assert paths.default_namespace() == "default"
    monkeypatch.setenv("MOBYSHELL_NAMESPACE", "web")
    assert paths.default_namespace() == "web"


def test_a_state_root_that_others_can_write_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    paths.prepare_state_root(str(state))
    assert state.stat().st_mode & 0o777 == 0o700
    state.chmod(0o777)
    with pytest.raises(UsageError, match="written by others"):
        paths.prepare_state_root(str(state))
    with pytest.raises(UsageError, match="cannot be made"):
        paths.prepare_state_root(f"{__file__}/state")


def test_records_round_trip_and_ignore_what_a_later_version_adds(tmp_path: Path) -> None:
    record = Record("a", "ns", pid=1, args=["x"], annotations={"k": "v"}, exit_status=3)
    write_record(str(tmp_path), record)
    assert read_record(str(tmp_path)) == record
    text = (tmp_path / RECORD).read_text()
    (tmp_path / RECORD).write_text(text.replace('{"id"', '{"later": 1, "id"'))
    assert read_record(str(tmp_path)) == record
    assert sorted(os.listdir(tmp_path)) == [RECORD]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"namespace": "x"}', "\0"])
def test_a_damaged_record_is_an_error_that_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(MobyshellError, match="damaged"):
        read_record(str(tmp_path))


def task(state: Path, record: Record) -> None:
    directory = Path(paths.task_dir(str(state), record.namespace, record.id))
    directory.mkdir(parents=True)
    write_record(str(directory), record)


def test_the_list_shows_records_as_they_are_now(tmp_path: Path) -> None:
    me, start = os.getpid(), process_start(os.getpid())
    task(tmp_path, Record("b", "ns", pid=me, pid_start=start, started_ns=5, paused=True))
    task(tmp_path, Record("a", "ns", pid=me, pid_start=start))
    task(tmp_path, Record("c", "ns", pid=me, pid_start=start, started_ns=5))
    task(tmp_path, Record("d", "ns", pid=me, pid_start=start + 1, started_ns=5))
    task(tmp_path, Record("e", "ns", pid=me, pid_start=start, exit_status=4))
    (tmp_path / "ns" / "f" / "task").mkdir(parents=True)
    (tmp_path / "ns" / "f" / "task" / RECORD).write_text("{")
    (tmp_path / "ns" / "events.jsonl").write_text("")
    found = view.list_tasks(str(tmp_path), "ns")
    assert [(one.id, one.status, one.exit_status, one.pid) for one in found] == [
        ("a", Status.CREATED, None, me),
        ("b", Status.PAUSED, None, me),
        ("c", Status.RUNNING, None, me),
        ("d", Status.STOPPED, -1, 0),
        ("e", Status.STOPPED, 4, 0),
        ("f", Status.STOPPED, -1, 0),
    ]
    assert view.list_tasks(str(tmp_path), "other") == []


def test_what_the_keeper_wrote_counts(tmp_path: Path) -> None:
    task(tmp_path, Record("a", "ns", pid=os.getpid(), pid_start=1, started_ns=5))
    (tmp_path / "ns" / "a" / "task" / EXIT).write_text("137 99")
    found = view.info_of(view.require(str(tmp_path), "ns", "a"), "ns")
    assert (found.exit_status, found.exited_ns) == (137, 99)


def test_a_missing_task_says_where_else_there_is_one(tmp_path: Path) -> None:
    task(tmp_path, Record("a", "web"))
    with pytest.raises(NotFound) as caught:
        view.require(str(tmp_path), "default", "a")
    assert "web" in caught.value.hint


@pytest.mark.parametrize("text", ["", "x", "1", "1 2 3", "a b"])
def test_a_damaged_exit_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / EXIT).write_text(text)
    assert read_exit(str(tmp_path)) is None


def test_a_zombie_tells_how_it_ended() -> None:
    child = subprocess.Popen(["sh", "-c", "exit 9"])
    try:
        start = process_start(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert zombie_status(child.pid, start) == 9
        assert zombie_status(child.pid, start + 1) is None
    finally:
        child.wait()
    assert process_start(child.pid) == 0
    assert zombie_status(os.getpid(), process_start(os.getpid())) is None


def test_looking_at_tasks_loads_nothing_that_talks_to_a_shim() -> None:
    code = (
        "import sys, mobyshell.core.tasks.client as c; c.TaskClient('/nonexistent').ls();"
        "print([m for m in ('socket','ctypes','selectors','mobyshell.core.oci') if m in sys.modules])"
    )
    import sys

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "record",
    [
        Record("a"),
        Record('ä"\\\n', "ns", "e", pid=3, pid_start=4, args=["\0", "ü"], annotations={"a": "}"}),
        Record("b", exit_status=0, paused=True, terminal=True, stdin=True, runtime_path="/r"),
        Record("c", exit_status=-1, restart="always", restarts=2, stopped=True, rootfs=["a", "b"]),
    ],
)
def test_a_records_text_is_its_json_also_when_it_has_changed(record: Record) -> None:
    for _ in range(2):
        assert json.loads(text_of(record)) == record.to_json()
        record.pid, record.started_ns, record.exited_ns, record.exit_status = 7, 8, 9, 10
        record.paused, record.health, record.failing = not record.paused, "healthy", 1
    copy = replace(record, id="another")
    assert json.loads(text_of(copy))["id"] == "another"
