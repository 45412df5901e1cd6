"""Calls are recorded as numbers, beside a form that all containers of a plan share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.clock import ManualClock
from mobyshell.core.events import CallDone, TaskExited
from mobyshell.core.oci import default_spec
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.lines import Run
from mobyshell.core.runtime.plan import Actor, Phase, named
from mobyshell.core.runtime.prepared import Prepared
from mobyshell.core.runtime.program import ID, REPORT, Program
from mobyshell.core.runtime.report import events
from mobyshell.core.runtime.trace import read_events
from mobyshell.core.tasks import forms
from mobyshell.core.tasks.journal import Journal
from mobyshell.core.tasks.loop import Loop


def fail(error: BaseException) -> None:
    raise error


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    loop = Loop(fail)
    yield Journal(str(tmp_path), loop, ManualClock())
    loop.close()


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return Prepared(Runtime(tmp_path / "root").plan(ID, "/bundle", spec=default_spec()))


def ran(prepared: Prepared, part: str, id: str) -> tuple[Run, list[CallDone]]:
    """One run, as if there had been one, and what it says."""
    program: Program = prepared.take(part, {"id": id})
    for index in range(program.length):
        at = program.reports_at + index * REPORT
        program.words[at], program.words[at + 2] = index, 1000 + index
    told = list(events(named(prepared.template, ID, id), program))
    reports, template = program.copied_reports(), prepared.template
    return Run(lambda: template, program, reports, 0, {"id": id}), told


def recorded(root: Path, id: str) -> list[CallDone]:
    found = [one.payload for one in read_events(root / "ns" / id / "events.jsonl")]
    return [one for one in found if isinstance(one, CallDone)]


def put(journal: Journal, root: Path, prepared: Prepared, part: str, id: str) -> list[CallDone]:
    (root / "ns" / id).mkdir(parents=True, exist_ok=True)
    run, told = ran(prepared, part, id)
    journal.emit_later("ns", id, run)
    journal.flush()
    return told


def test_the_calls_of_each_are_read_as_they_were(
    journal: Journal, tmp_path: Path, prepared: Prepared
) -> None:
    for id in ("a", "b"):
        told = put(journal, tmp_path, prepared, "child", id)
        told += put(journal, tmp_path, prepared, "prepare", id)
        assert recorded(tmp_path, id) == told
        assert any(f"-{id}" in arg for one in told for arg in one.args)  # its own names
    (tmp_path / "ns/a/events.jsonl").write_text("")
    texts = {path.stat().st_ino for path in (tmp_path / "ns").glob("*/form-*")}
    assert len(texts) == len(list((tmp_path / ".forms").iterdir())) == 2
    sizes = [path.stat().st_size for path in (tmp_path / ".forms").iterdir()]
    assert (tmp_path / "ns/b/events.jsonl").stat().st_size < sum(sizes) / 3


def test_a_trace_outlives_what_is_kept_for_the_next(
    journal: Journal, tmp_path: Path, prepared: Prepared
) -> None:
    told = put(journal, tmp_path, prepared, "child", "a")
    journal.close()
    assert not (tmp_path / ".forms").exists()
    assert recorded(tmp_path, "a") == told
    assert put(journal, tmp_path, prepared, "child", "b") == recorded(tmp_path, "b")


def test_only_some_are_kept(
    journal: Journal, tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "_KEPT", 1)
    told = [*put(journal, tmp_path, prepared, "child", "a"),
            *put(journal, tmp_path, prepared, "prepare", "a")]  # fmt: skip
    assert len(list((tmp_path / ".forms").iterdir())) == 1
    assert recorded(tmp_path, "a") == told


def test_where_they_cannot_be_kept_each_call_is_written(
    journal: Journal, tmp_path: Path, prepared: Prepared
) -> None:
    (tmp_path / ".forms").write_text("in the way")
    told = put(journal, tmp_path, prepared, "child", "a")
    assert recorded(tmp_path, "a") == told
    assert not list((tmp_path / "ns/a").glob("form-*"))


def test_a_lost_form_costs_its_calls_and_nothing_else(
    journal: Journal, tmp_path: Path, prepared: Prepared
) -> None:
    put(journal, tmp_path, prepared, "child", "a")
    journal.emit("ns", "a", TaskExited(1, 0))
    told = put(journal, tmp_path, prepared, "prepare", "a")
    (form, *_) = sorted((tmp_path / "ns/a").glob("form-*"), key=lambda one: -one.stat().st_size)
    form.write_text("[[1]]")
    assert recorded(tmp_path, "a") == told
    os.unlink(form)
    assert recorded(tmp_path, "a") == told
    assert any(
        isinstance(one.payload, TaskExited) for one in read_events(tmp_path / "ns/a/events.jsonl")
    )
    trace = tmp_path / "ns/a/events.jsonl"
    for wrong in ("../../x", "", 7, None):
        line = {"time_ns": 1, "namespace": "ns", "topic": "/runtime/calls", "id": "a"}
        trace.write_text(json.dumps({**line, "data": {"form": wrong}}) + "\n")
        assert read_events(trace) == []


def test_what_a_plan_does_beside_the_child_is_recorded_too(prepared: Prepared) -> None:
    parts = {Phase.PREPARE: "prepare", Phase.BESIDE: "beside"}
    for phase, part in parts.items():
        assert prepared.has(part) is bool(prepared.template.of(Actor.PARENT, phase))
