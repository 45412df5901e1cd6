"""Events in words: filters as containerd has them, lines, and what every topic means."""

from __future__ import annotations

import pytest

from mobyshell.commands.event_meanings import CONTAINERD, MEANINGS, OURS
from mobyshell.commands.event_words import check_filter, is_filter, matcher, said
from mobyshell.core.errors import UsageError
from mobyshell.core.events import (
    PAYLOADS,
    CallDone,
    Event,
    ExecStarted,
    ImageCreated,
    TaskExited,
    TaskSignalled,
    TaskUpdated,
)

EXIT = Event(1, "default", "web", TaskExited(7, 137))
EXEC = Event(2, "blue", "web", ExecStarted("e1", 9, ["ps"]))
SIGNAL = Event(3, "default", "db", TaskSignalled("SIGTERM", all=True))
IMAGE = Event(4, "blue", "box", ImageCreated("box", {"io.example/team": "a"}))
LIMIT = Event(5, "blue", "db", TaskUpdated({"pids": {"limit": 44}}))
ALL = [EXIT, EXEC, SIGNAL, IMAGE, LIMIT]


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        ([], ALL),
        (["topic==/tasks/exit"], [EXIT]),
        (["topic~=^/tasks/"], [EXIT, EXEC, SIGNAL, LIMIT]),
        (["namespace==blue,topic~=tasks"], [EXEC, LIMIT]),
        (["event.exit_status==137"], [EXIT]),
        (["event.exec_id==e1"], [EXEC]),
        (["event.container_id==web"], [EXIT, EXEC]),
        (["event.id==web"], [EXIT]),
        (["event.id==e1"], [EXEC]),
        (["event.all==true"], [SIGNAL]),
        (['event.labels."io.example/team"==a'], [IMAGE]),
        (["event.changed.pids.limit==44"], [LIMIT]),
        (["event.changed"], []),  # a mapping is no value
        (["id==web"], [EXIT, EXEC]),
        (["topic==/tasks/exit", "id==box"], [EXIT, IMAGE]),
    ],
)  # fmt: skip
def test_filters_are_containerds(filters: list[str], meant: list[Event]) -> None:
    chosen = matcher(filters)
    assert [one for one in ALL if chosen(one)] == meant


def test_a_key_that_is_no_word_is_quoted() -> None:
    with pytest.raises(UsageError):
        matcher(["event.labels.io.example/team==a"])


def test_what_is_a_filter_and_what_is_wrong_with_one() -> None:
    assert is_filter("topic~=x")
    assert not is_filter("/tasks exit")
    assert check_filter("topic==/tasks/exit") == ""
    assert check_filter('topic=="unfinished') != ""
    assert check_filter("==x") != ""


def test_an_event_in_a_line() -> None:
    assert said(EXIT) == "pid=7 exit_status=137"
    call = CallDone("child", 0, 0, "t", "mount", ["a", "b"], -1, "EPERM", 5, "", "")
    assert said(Event(1, "n", "x", call)) == "mount(a, b) = EPERM"


def test_every_topic_has_its_meaning_and_no_other() -> None:
    assert set(MEANINGS) == set(PAYLOADS)
    assert {one.whose for one in MEANINGS.values()} == {CONTAINERD, OURS}
    assert all(one.means.endswith(".") for one in MEANINGS.values())
