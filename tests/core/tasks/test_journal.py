"""Events: as `Event.to_json` has them, bounded, in order, where they belong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from mobyshell.core.clock import ManualClock
from mobyshell.core.events import (
    CallDone,
    Event,
    ExecStarted,
    Failed,
    Payload,
    TaskExited,
    TaskUpdated,
)
from mobyshell.core.runtime.lines import Run
from mobyshell.core.tasks import journal as journal_module
from mobyshell.core.tasks.journal import Journal, encode
from mobyshell.core.tasks.loop import Loop

CALL = CallDone("child", 1, 2, "t", "mount", ["a", "b"], 0, "", 5, "mount(2)", "x.md")


@pytest.fixture
def loop() -> Iterator[Loop]:
    found = Loop(lambda error: pytest.fail(repr(error)))
    yield found
    found.close()


@pytest.fixture
def journal(tmp_path: Path, loop: Loop) -> Journal:
    (tmp_path / "ns" / "a").mkdir(parents=True)
    return Journal(str(tmp_path), loop, ManualClock())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    "payload",
    [CALL, TaskExited(1, 2), ExecStarted("e", 3, ["x", "ü\n"]), TaskUpdated({"a": {"b": [1]}}),
     Failed("create", {"kind": "NotFound"})],
)  # fmt: skip
def test_the_quick_encoding_is_the_events_own(payload: Payload) -> None:
    event = Event(1, "ns", "a", payload)
    assert json.loads(encode(event)) == event.to_json()
    assert Event.from_json(json.loads(encode(event))) == event


def test_calls_are_in_the_trace_and_not_among_the_recent(journal: Journal, tmp_path: Path) -> None:
    journal.emit("ns", "a", CALL)
    journal.emit("ns", "a", TaskExited(1, 2))
    journal.emit("ns", "gone", TaskExited(1, 3))
    journal.flush()
    assert [one["topic"] for one in lines(tmp_path / "ns/a/events.jsonl")] == [
        "/runtime/call", "/tasks/exit",
    ]  # fmt: skip
    assert [one["id"] for one in lines(tmp_path / "ns/events.jsonl")] == ["a", "gone"]
    assert not (tmp_path / "ns" / "gone").exists()


def test_they_are_written_without_anybody_asking(
    journal: Journal, loop: Loop, tmp_path: Path
) -> None:
    journal.emit("ns", "a", CALL)
    loop.call_later(3 * journal_module._MOMENT, loop.stop)
    loop.run()
    assert len(lines(tmp_path / "ns/a/events.jsonl")) == 1


def test_the_trace_of_what_is_being_made_waits_for_its_directory(
    journal: Journal, tmp_path: Path
) -> None:
    journal.begin("ns", "b")
    journal.emit("ns", "b", CALL)
    journal.flush()
    journal.emit("ns", "b", CALL)
    (tmp_path / "ns" / "b").mkdir()
    journal.made("ns", "b", kept=True)
    journal.emit("ns", "b", TaskExited(1, 2))
    journal.flush()
    topics = [one["topic"] for one in lines(tmp_path / "ns/b/events.jsonl")]
    assert topics == ["/runtime/call", "/runtime/call", "/tasks/exit"]
    journal.begin("ns", "c")
    journal.emit("ns", "c", CALL)
    journal.flush()
    journal.made("ns", "c", kept=False)
    journal.flush()
    assert not (tmp_path / "ns" / "c").exists()


def test_files_are_bounded(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "TRACE_BYTES", 2000)
    monkeypatch.setattr(journal_module, "RECENT_BYTES", 2000)
    for number in range(200):
        journal.emit("ns", "a", CALL)
        journal.emit("ns", "a", TaskExited(number, 0))
        journal.flush()
    assert (tmp_path / "ns/events.jsonl").stat().st_size < 3000
    assert (tmp_path / "ns/events.jsonl.1").stat().st_size < 3000
    trace = lines(tmp_path / "ns/a/events.jsonl")
    assert sum(one["topic"] == "/runtime/call" for one in trace) < 20
    assert sum(one["topic"] == "/tasks/exit" for one in trace) == 200


class Slow:
    """A listener that takes nothing."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    @property
    def backlog(self) -> int:
        return sum(map(len, self.got))

    def send(self, data: bytes) -> None:
        self.got.append(data)


def test_a_slow_listener_misses_calls_before_it_misses_tasks(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LISTENER_BYTES", 20_000)
    slow, elsewhere = Slow(), Slow()
    journal.listeners[slow] = "ns"
    journal.listeners[elsewhere] = "other"
    for number in range(100):
        journal.emit("ns", "a", CALL)
        journal.emit("ns", "a", TaskExited(number, 0))
    journal.flush()
    assert elsewhere.got == []
    text = b"".join(slow.got)
    assert len(text) < 21_000
    assert text.count(b"/tasks/exit") > text.count(b"/runtime/call") > 5


class Told:
    """Calls that say more than numbers."""

    def form(self) -> str:
        return ""

    def lines(self) -> list[str]:
        return ['{"n":1}', '{"n":2}']


def test_a_part_is_written_first_and_nothing_of_what_is_being_made(
    journal: Journal, tmp_path: Path
) -> None:
    (tmp_path / "ns" / "b").mkdir()
    for number in range(10):
        journal.emit("ns", "a", TaskExited(number, 0))
    journal.emit_later("ns", "a", cast("Run", Told()))
    journal.begin("ns", "b")
    journal.emit("ns", "b", TaskExited(11, 0))
    journal.flush_some()
    assert len(lines(tmp_path / "ns/a/events.jsonl")) == 8
    journal.flush_some()
    written = lines(tmp_path / "ns/a/events.jsonl")
    assert [one["data"] for one in written[10:]] == [{"n": 1}, {"n": 2}]
    journal.flush_some()
    assert not (tmp_path / "ns/b/events.jsonl").exists()
    journal.flush()
    journal.made("ns", "b", kept=True)
    assert len(lines(tmp_path / "ns/b/events.jsonl")) == 1
    assert [one["id"] for one in lines(tmp_path / "ns/events.jsonl")] == ["a"] * 10 + ["b"]


# a shim that dies


def test_what_a_dead_shim_had_not_written_its_successor_writes_once(
    tmp_path: Path, loop: Loop
) -> None:
    (tmp_path / "ns" / "a").mkdir(parents=True)
    first = Journal(str(tmp_path), loop, ManualClock())
    first.emit("ns", "a", TaskExited(1, 0))
    first.flush()
    first.emit("ns", "a", TaskExited(2, 0))
    first.emit("ns", "gone", TaskExited(3, 0))
    first.emit("ns", "a", CALL)  # one of hundreds: not kept
    for path in ("ns/events.jsonl", "ns/a/events.jsonl"):
        with open(tmp_path / path, "a") as file:
            file.write('{"half a li')  # it died in the middle of a write
    for _ in range(2):
        Journal(str(tmp_path), loop, ManualClock()).recover()
        pids = [one["data"]["pid"] for one in lines(tmp_path / "ns/events.jsonl")]
        assert pids == [1, 2, 3]
        pids = [one["data"]["pid"] for one in lines(tmp_path / "ns/a/events.jsonl")]
        assert pids == [1, 2]
    assert not (tmp_path / "ns" / "gone").exists()


@pytest.mark.parametrize("written", [1, 2])
def test_what_it_had_written_is_not_written_again(
    tmp_path: Path, loop: Loop, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies between the two files, or before the page is cleared."""
    (tmp_path / "ns" / "a").mkdir(parents=True)
    first = Journal(str(tmp_path), loop, ManualClock())
    first.emit("ns", "a", TaskExited(1, 0))
    name = "_keep_recent" if written == 1 else "_pending"
    monkeypatch.setattr(first, name, None)
    with pytest.raises((TypeError, AttributeError)):
        first.flush()
    Journal(str(tmp_path), loop, ManualClock()).recover()
    for path in ("ns/events.jsonl", "ns/a/events.jsonl"):
        assert len(lines(tmp_path / path)) == 1


def test_a_page_that_is_full_or_damaged_harms_nobody(tmp_path: Path, loop: Loop) -> None:
    (tmp_path / "ns" / "a").mkdir(parents=True)
    journal = Journal(str(tmp_path), loop, ManualClock())
    for number in range(3000):
        journal.emit("ns", "a", TaskExited(number, 0))
    loop.call_soon(loop.stop)
    loop.run()
    journal.flush()
    assert len(lines(tmp_path / "ns/a/events.jsonl")) == 3000
    page = tmp_path / "pending"
    for content in (b"\xff" * 4096, b"\x10" + b"\0" * 7 + b"nonsense\n{}\n[1]\n"):
        page.write_bytes(content)
        Journal(str(tmp_path), loop, ManualClock()).recover()
    assert len(lines(tmp_path / "ns/events.jsonl")) == 3000
