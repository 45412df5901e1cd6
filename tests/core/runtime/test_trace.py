"""Traces: written in one piece, read whatever is in the file, summed by phase."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.clock import ManualClock
from mobyshell.core.errors import SyscallFailed
from mobyshell.core.events import CallDone, Event, HookDone, TaskStarted
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.trace import EventFile, call_rows, read_events
from tests.core.runtime.conftest import House


def called(name: str = "mount", **more: Any) -> CallDone:
    values: dict[str, Any] = {
        "actor": "child", "operation": 3, "call": 1, "title": "mount proc", "name": name,
        "args": ['"proc"', "MS_NOSUID|MS_NODEV"], "result": 0, "errno": "", "duration_ns": 1500,
        "man": "mount(2)", "spec": "config.md#mounts", "phase": "setup",
    }  # fmt: skip
    return CallDone(**{**values, **more})


def hook() -> HookDone:
    return HookDone(kind="prestart", index=0, path="/bin/h", args=["h", "x"], exit_status=3,
                    stdout="", stderr="", duration_ns=7)  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    clock = ManualClock()
    with EventFile(path, clock=clock, namespace="n") as sink:
        sink("c", called())
        clock.advance(1)
        sink("c", TaskStarted(pid=7))
        assert path.stat().st_size == 0  # in one piece, when it is asked for
        sink.flush()
        sink("c", hook())
    events = read_events(path)
    assert [one.payload for one in events] == [called(), TaskStarted(pid=7), hook()]
    assert [(one.id, one.namespace) for one in events] == [("c", "n")] * 3
    assert events[1].time_ns - events[0].time_ns == 10**9
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_writers_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with (
        EventFile(path, clock=ManualClock()) as one,
        EventFile(path, clock=ManualClock()) as two,
    ):
        for _ in range(50):
            one("one", called(args=["x" * 3000]))
            two("two", called(args=["y" * 3000]))
            one.flush()
            two.flush()
    events = read_events(path)
    assert [event.id for event in events] == ["one", "two"] * 50


def test_past_the_limit_only_what_is_about_the_container(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventFile(path, clock=ManualClock(), limit=2000) as sink:
        for _ in range(100):
            sink("c", called())
            sink.flush()
        full = path.stat().st_size
        sink("c", TaskStarted(pid=1))
    assert 2000 < full < 3000
    assert isinstance(read_events(path)[-1].payload, TaskStarted)


def test_a_full_disk_costs_the_trace_only(tmp_path: Path) -> None:
    with EventFile("/dev/full", clock=ManualClock()) as sink:
        sink("c", called())
    with pytest.raises(SyscallFailed) as caught:
        EventFile(tmp_path / "no" / "such", clock=ManualClock())
    assert caught.value.errno == errno.ENOENT
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SyscallFailed):
        EventFile(tmp_path / "link", clock=ManualClock())


def test_reading_passes_over_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert read_events(path) == []
    good = json.dumps(Event(5, "n", "c", called()).to_json())
    later = json.loads(good)
    later["data"]["new_field"] = 1
    strange = [
        "", "{", "[]", "null", "7", '{"topic": "/future/thing", "data": {}}', json.dumps(later),
        '{"topic": "/tasks/start", "time_ns": "x", "namespace": "", "id": "c", "data": {"pid": 1}}',
        "[" * 100_000, "\x00\x01", good[: len(good) // 2],
    ]  # fmt: skip
    path.write_text("\n".join([good, *strange, good, *strange]))
    assert [one.payload for one in read_events(path)] == [called(), called()]


@given(st.binary(max_size=400))
def test_no_content_makes_it_fail(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.jsonl"
    good = json.dumps(Event(5, "n", "c", called()).to_json()).encode()
    path.write_bytes(good + b"\n" + noise)
    assert [one.payload for one in read_events(path)][:1] == [called()]


def test_rows() -> None:
    events = [
        Event(1, "", "c", called()),
        Event(2, "", "c", called("openat", result=-1, errno="ENOENT", operation=4)),
        Event(3, "", "c", TaskStarted(pid=1)),
        Event(4, "", "c", hook()),
    ]
    rows = call_rows(events)
    assert [row["call"] for row in rows] == [
        'mount("proc", MS_NOSUID|MS_NODEV)', 'openat("proc", MS_NOSUID|MS_NODEV)', "h x",
    ]  # fmt: skip
    assert [row["result"] for row in rows] == ["0", "ENOENT", "3"]
    assert [row["operation"] for row in rows] == [4, 5, None]
    assert call_rows([]) == []


@pytest.mark.root
def test_the_trace_of_a_real_container(house: House) -> None:
    path = house.directory / "events.jsonl"
    with EventFile(path, clock=house.runtime.clock) as sink:
        house.runtime = Runtime(house.runtime.root, sink=sink)
        assert house.run("true").status == 0
    events = read_events(path)
    rows = call_rows(events)
    phases = Counter(row["phase"] for row in rows)
    assert {"prepare", "setup", "pivot", "exec"} <= set(phases)
    assert phases["setup"] > 50
    assert all(row["ns"] > 0 for row in rows)
    # the parts are not more than the whole
    total = sum(row["ns"] for row in rows if row["actor"] == "child" and row["phase"] != "wait")
    assert total < events[-1].time_ns - events[0].time_ns + 10**10
    assert any("pivot_root" in row["call"] for row in call_rows(events))


def test_reading_needs_no_runtime() -> None:
    code = (
        "import sys; import mobyshell.core.runtime.trace; "
        "print([m for m in sys.modules if 'planner' in m or 'ctypes' in m or 'oci' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
