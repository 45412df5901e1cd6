"""A task from its making to its removal in one conversation: what is told, and what is left."""

from __future__ import annotations

import os

import pytest

from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound, ShimLost
from mobyshell.core.runtime.values import RootMount, Status
from mobyshell.core.tasks.logs import content
from mobyshell.core.tasks.runs import MOST
from mobyshell.core.tasks.service import Ended, Runner
from tests.core.tasks.conftest import House, kill_now
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("undertaker")]


def begin(house: House, runner: Runner, id: str, *args: str) -> None:
    text = (house.bundle / "config.json").read_text()
    quoted = ",".join(f'"{one}"' for one in args)
    assert '"true"' in text
    text = text.replace('"true"', quoted, 1)
    runner.create(id, text, RootMount("none", str(house.bundle / "rootfs"), ("bind",)))


def whole(house: House, *args: str) -> Ended | None:
    with house.client.runner() as runner:
        assert runner is not None
        begin(house, runner, house.id(), *args)
        runner.start()
        ended = runner.wait()
        if ended is not None:
            runner.removed()
        return ended


def test_it_is_told_how_it_ended_and_what_it_said(house: House) -> None:
    ended = whole(house, "sh", "-c", "printf 'one\\rtwo'; echo; echo three >&2; exit 7")
    assert ended is not None
    assert ended.exit_status == 7
    said = [(line.stream, content(line)) for line in ended.lines]
    assert b"".join(data for stream, data in said if stream == "stdout") == b"one\rtwo\n"
    assert b"".join(data for stream, data in said if stream == "stderr") == b"three\n"
    assert house.client.ls() == []
    assert os.listdir(house.state / "default") in ([], ["events.jsonl"])


def test_one_connection_serves_one_after_the_other(house: House) -> None:
    for number in range(3):
        ended = whole(house, "sh", "-c", f"exit {number}")
        assert ended is not None
        assert ended.exit_status == number
    with house.client.runner() as runner:
        assert runner is not None
        begin(house, runner, house.id(), "true")
        begin(house, runner, house.id(), "true")
        with pytest.raises(MobyshellError, match="runs a task already"):
            runner.wait()
    # who hangs up before `go` has wanted nothing: the one that was being made goes by itself
    eventually(lambda: house.client.ls() == [])


def test_events_are_those_of_any_task(house: House) -> None:
    whole(house, "true")
    topics = [event.topic for event in house.client.recent_events()]
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]


def test_nothing_runs_before_it_may(house: House) -> None:
    with house.client.runner() as runner:
        assert runner is not None
        id = house.id()
        begin(house, runner, id, "true")
        eventually(lambda: [task.status for task in house.client.ls()] == [Status.CREATED])
        runner.start()
        ended = runner.wait()
        assert ended is not None
        runner.removed()


def test_who_hangs_up_before_has_wanted_nothing(house: House) -> None:
    with house.client.runner() as runner:
        assert runner is not None
        begin(house, runner, house.id(), "sleep", "1000")
        eventually(house.client.ls)
    eventually(lambda: not house.client.ls())
    with house.client.runner() as runner:  # and if it is not made yet
        assert runner is not None
        begin(house, runner, house.id(), "sleep", "1000")
    house.pids()
    eventually(lambda: not house.client.ls())


def test_who_hangs_up_later_leaves_a_task_like_any_other(house: House) -> None:
    with house.client.runner() as runner:
        assert runner is not None
        id = house.id()
        begin(house, runner, id, "sh", "-c", "sleep 0.2; echo on; exit 3")
        runner.start()
        eventually(lambda: [task.status for task in house.client.ls()] == [Status.RUNNING])
    assert house.client.wait(id, timeout=60) == 3
    assert house.output(id) == b"on\n"
    assert house.client.delete(id) == 3


def test_who_says_much_is_left_to_be_read(house: House) -> None:
    with house.client.runner() as runner:
        assert runner is not None
        id = house.id()
        begin(house, runner, id, "sh", "-c", f"yes | head -c {MOST}; exit 4")
        runner.start()
        assert runner.wait() is None
    assert house.client.wait(id, timeout=60) == 4
    assert house.output(id) == b"y\n" * (MOST // 2)
    assert house.client.delete(id) == 4


def test_a_task_that_cannot_be_made_is_told_and_leaves_nothing(house: House) -> None:
    with pytest.raises(MobyshellError, match="no-such-program"):
        whole(house, "no-such-program")
    assert house.client.ls() == []
    id = house.run("sleep", "1000")
    with house.client.runner() as runner:
        assert runner is not None
        begin(house, runner, id, "true")
        runner.start()
        with pytest.raises(AlreadyExists):
            runner.wait()
    assert [task.id for task in house.client.ls()] == [id]


def test_a_shim_that_is_killed_in_between_leaves_the_task_to_its_successor(house: House) -> None:
    with house.client.runner() as runner:
        assert runner is not None
        id = house.id()
        begin(house, runner, id, "sh", "-c", "echo up; sleep 0.5; echo on; exit 5")
        runner.start()
        eventually(lambda: [task.status for task in house.client.ls()] == [Status.RUNNING])
        kill_now(house.pids()[1])
        with pytest.raises(ShimLost):
            runner.wait()
    assert house.client.wait(id, timeout=60) == 5
    assert house.output(id) == b"up\non\n"
    house.client.delete(id)
    with pytest.raises(NotFound):
        house.client.get(id)
