"""Tasks that are started again by their policy: real containers, real deaths."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError, NotFound, WrongState
from mobyshell.core.runtime.values import Status
from mobyshell.core.tasks.connect import connect
from mobyshell.core.tasks.records import read_record
from tests.core.tasks.conftest import House, kill_now, stand_still, state_of
from tests.core.tasks.test_snapshots import document, layered
from tests.runtimes import NAMES, runtime_path
from tests.undertaker import bury
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("undertaker")]

FAILS = ("sh", "-c", "echo run; exit 3")
STAYS = ("sh", "-c", "echo run; exec sleep 1000")


def run(house: House, policy: str, *args: str, runtime: str = "mobyshell") -> str:
    id = house.id()
    house.client.create(id, str(house.bundle), args=args, restart=policy, runtime=runtime)
    house.client.start(id)
    return id


def runs(house: House, id: str) -> int:
    return house.output(id).count(b"run\n")


def status(house: House, id: str) -> str:
    return str(house.client.get(id).status)


def events(house: House, id: str) -> list[str]:
    return [one.topic for one in house.client.recent_events() if one.id == id]


def over(house: House, id: str) -> bool:
    """Whether a shim has written so: then all output is in the log, too."""
    record = read_record(str(house.state / "default" / id / "task"))
    return record is not None and record.status() is Status.STOPPED


def kill_process(house: House, id: str) -> None:
    """Its program dies of something that nobody asked of us."""
    os.kill(house.task_pid(id), signal.SIGKILL)


@pytest.fixture(params=["mobyshell", *NAMES])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = str(request.param)
    return name if name == "mobyshell" else runtime_path(name, tmp_path)


@pytest.mark.peer
def test_a_failing_task_is_started_again_so_often(house: House, runtime: str) -> None:
    id = run(house, "on-failure:2", *FAILS, runtime=runtime)
    eventually(lambda: over(house, id))
    info = house.client.get(id)
    assert (info.exit_status, info.restarts, info.restart) == (3, 2, "on-failure:2")
    assert runs(house, id) == 3
    one = ["/tasks/create", "/tasks/start", "/tasks/exit"]
    assert events(house, id) == [*one, "/tasks/restarting", *one, "/tasks/restarting", *one]
    assert house.client.delete(id) == 3
    assert not (house.state / "default" / id).exists()


def test_success_is_not_started_again_on_failure(house: House) -> None:
    id = run(house, "on-failure", "sh", "-c", "echo run")
    house.client.wait(id, timeout=60)
    assert status(house, id) == "stopped"
    assert runs(house, id) == 1


def test_always_means_also_after_success_and_pauses_grow(house: House) -> None:
    id = run(house, "always", "sh", "-c", "echo run")
    eventually(lambda: runs(house, id) >= 5)
    house.client.kill(id, signal.SIGTERM)
    times = [line.time_ns for line in house.client.logs(id)]
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[3] > pauses[1]  # eight hundred milliseconds, and two hundred
    told = [one.payload for one in house.client.recent_events()
            if one.id == id and one.topic == "/tasks/restarting"]  # fmt: skip
    assert [getattr(one, "pause_ms", 0) for one in told][:4] == [100, 200, 400, 800]


def test_what_somebody_ends_stays_ended(house: House) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        id = run(
            house, "always", "sh", "-c", "trap 'exit 5' TERM; echo run; while :; do sleep 0.1; done"
        )
        eventually(lambda: runs(house, id) == 1)  # noqa: B023
        house.client.kill(id, number)
        house.client.wait(id, timeout=60)
        assert status(house, id) == "stopped"
        assert runs(house, id) == 1
        house.client.delete(id)


def test_who_ends_what_has_just_ended_by_itself_has_ended_it(house: House, runtime: str) -> None:
    """The shim stands still when it is asked, and has not seen the end: it hears of both at once."""
    go = house.bundle / "rootfs" / "go"
    script = "echo run; while [ ! -e /go ]; do sleep 0.05; done; exit 3"
    id = run(house, "always", "sh", "-c", script, runtime=runtime)
    eventually(lambda: runs(house, id) == 1)
    pid, (_, shim) = house.task_pid(id), house.pids()
    with closing(connect(str(house.state))) as connection:
        stand_still(shim)
        try:
            number = connection.send("kill", "default", {"id": id, "signal": signal.SIGTERM})
            go.touch()
            eventually(lambda: state_of(pid) == "Z")
        finally:
            os.kill(shim, signal.SIGCONT)
        connection.answer(number, 60)
    assert house.client.wait(id, timeout=60) == 3
    eventually(lambda: status(house, id) == "stopped")
    assert runs(house, id) == 1
    with pytest.raises(MobyshellError):  # and now it is known
        house.client.kill(id, signal.SIGTERM)


def test_a_signal_that_tells_something_does_not_end_the_policy(house: House) -> None:
    id = run(
        house, "always", "sh", "-c", "trap 'exit 1' HUP; echo run; while :; do sleep 0.1; done"
    )
    eventually(lambda: runs(house, id) == 1)
    house.client.kill(id, signal.SIGHUP)
    eventually(lambda: runs(house, id) == 2)


def between(house: House, id: str) -> bool:
    info = house.client.get(id)
    return info.status is Status.RESTARTING and not info.pid


def waiting(house: House, *args: str) -> str:
    """A task that is between two runs, for a good while: its record says a later time, which a new
    shim believes."""
    id = run(house, "always", *args)
    record = house.state / "default" / id / "task" / "process.json"
    while True:
        eventually(lambda: between(house, id))
        kill_now(*house.pids())
        bury()
        if between(house, id):
            break
    document = json.loads(record.read_bytes())
    record.write_text(json.dumps({**document, "restart_ns": time.time_ns() + 3600 * 10**9}))
    house.pids()
    return id


def test_between_two_runs(house: House) -> None:
    id = waiting(house, *FAILS)
    info = house.client.get(id)
    assert (info.pid, info.exit_status) == (0, 3)
    assert house.client.wait(id, timeout=60) == 3
    with pytest.raises(WrongState, match="about to be started again"):
        house.client.delete(id)
    with pytest.raises(WrongState):
        house.client.kill(id, signal.SIGHUP)
    house.client.kill(id, signal.SIGTERM)
    assert status(house, id) == "stopped"
    assert house.client.delete(id) == 3


def test_it_can_be_started_before_its_time(house: House) -> None:
    id = waiting(house, *FAILS)
    before = runs(house, id)
    house.client.start(id)
    eventually(lambda: runs(house, id) > before)


def test_deleted_between_two_runs_it_does_not_come_back(house: House) -> None:
    id = waiting(house, *FAILS)
    assert house.client.delete(id, force=True) == 3
    with pytest.raises(NotFound):
        house.client.get(id)
    again = house.id()
    house.client.create(again, str(house.bundle), args=STAYS)
    house.client.start(again)
    assert [one.id for one in house.client.ls()] == [again]


def test_deleted_while_it_runs(house: House) -> None:
    id = run(house, "always", *STAYS)
    house.client.delete(id, force=True)
    assert house.client.ls() == []


def test_what_was_never_started_is_not_started_again(house: House) -> None:
    id = house.id()
    house.client.create(id, str(house.bundle), args=STAYS, restart="always")
    kill_process(house, id)
    assert house.client.wait(id, timeout=60) == 137
    assert status(house, id) == "stopped"
    id = house.id()
    house.client.create(id, str(house.bundle), args=("no-such-program",), restart="always")
    with pytest.raises(MobyshellError):
        house.client.start(id)
    house.client.wait(id, timeout=60)
    assert status(house, id) == "stopped"


def test_the_policy_can_change(house: House) -> None:
    id = run(house, "no", *STAYS)
    eventually(lambda: runs(house, id) == 1)
    assert house.client.set_restart_policy(id, "always").restart == "always"
    kill_process(house, id)
    eventually(lambda: runs(house, id) == 2)
    house.client.set_restart_policy(id, "no")
    kill_process(house, id)
    assert house.client.wait(id, timeout=60) == 137
    assert status(house, id) == "stopped"
    id = waiting(house, *FAILS)
    house.client.set_restart_policy(id, "no")
    assert status(house, id) == "stopped"


def test_changed_limits_are_those_of_the_next_run(house: House) -> None:
    id = run(house, "always", *STAYS)
    house.client.update(id, {"pids": {"limit": 77}})
    kill_process(house, id)
    eventually(lambda: runs(house, id) == 2)
    eventually(lambda: status(house, id) == "running")
    assert house.client.stats(id).pids_limit == 77


def test_a_follower_reads_on(house: House) -> None:
    id = run(house, "on-failure:2", *FAILS)
    lines = [line.data for line in house.client.logs(id, follow=True)]
    assert lines == [b"run"] * 3


def test_a_terminal_and_standard_input_come_again(house: House) -> None:
    id = house.id()
    house.client.create(id, str(house.bundle), args=("sh", "-c", "read x; echo $x; exit 1"),
                        restart="on-failure:1", terminal=True, stdin=True)  # fmt: skip
    house.client.start(id)
    for number in (0, 1):
        eventually(lambda: house.client.get(id).restarts == number  # noqa: B023
                   and status(house, id) == "running")  # fmt: skip
        with closing(house.client.attach(id)) as attached:
            attached.write(b"word%d\n" % number)
            while attached.read() is not None:
                pass
    eventually(lambda: over(house, id))
    assert house.output(id).count(b"word") == 4  # echoed, and printed


@pytest.mark.peer
def test_its_layer_is_the_same_one(house: House, tmp_path: Path, runtime: str) -> None:
    id = house.id()
    script = "echo run >> /made; cat /made; exit 1"
    house.client.create(id, spec=document("sh", "-c", script), rootfs=layered(house, tmp_path),
                        runtime=runtime, restart="on-failure:2")  # fmt: skip
    house.client.start(id)
    eventually(lambda: over(house, id))
    assert runs(house, id) == 1 + 2 + 3
    house.client.delete(id)


def test_what_cannot_be_made_again_is_tried_again_and_can_be_deleted(house: House) -> None:
    id = run(house, "on-failure:4", *FAILS)
    hidden = house.bundle / "hidden"
    (house.bundle / "rootfs").rename(hidden)
    try:
        eventually(lambda: over(house, id))
        info = house.client.get(id)
        assert (info.exit_status, info.restarts) == (3, 4)
        assert "/runtime/failed" in events(house, id)
        assert house.client.delete(id) == 3
        assert not (house.state / "default" / id).exists()
    finally:
        hidden.rename(house.bundle / "rootfs")


# deaths


def test_a_shim_killed_between_two_runs(house: House) -> None:
    id = run(house, "always", *FAILS)
    eventually(lambda: house.client.get(id).restarts >= 2 and between(house, id))
    before = house.client.get(id)
    kill_now(house.pids()[1])
    eventually(lambda: runs(house, id) > before.restarts + 1)
    assert house.client.get(id).restarts > before.restarts
    # the pauses went on, and did not begin anew
    pauses = [getattr(one.payload, "pause_ms", 0) for one in house.client.recent_events()
              if one.id == id and one.topic == "/tasks/restarting"]  # fmt: skip
    assert sorted(set(pauses)) == sorted(pauses)


@pytest.mark.parametrize("who", ["shim", "keeper", "both"])
def test_it_ends_when_nobody_is_there(house: House, who: str) -> None:
    id = run(house, "on-failure:1", *STAYS)
    eventually(lambda: runs(house, id) == 1)
    keeper, shim = house.pids()
    pid = house.task_pid(id)
    kill_now(*{"shim": [shim], "keeper": [keeper], "both": [keeper, shim]}[who], pid)
    house.pids()
    eventually(lambda: runs(house, id) == 2)
    eventually(lambda: status(house, id) == "running")
    assert house.client.get(id).restarts == 1


def test_killed_again_and_again_it_loses_no_run_and_makes_none_up(house: House) -> None:
    """At moments nobody chose. A container that was made when its shim died is made anew, or gone
    on with: each run is counted, and has been one."""
    id = run(house, "on-failure:4", *FAILS)
    kills, begun = 0, time.monotonic()
    while not over(house, id) and time.monotonic() - begun < 60:
        shim = house.pids()[1]
        time.sleep(0.004 * (kills % 9))
        try:
            os.kill(shim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        kills += 1
        house.pids()
        time.sleep(0.02 * (kills % 5))
    assert over(house, id)
    assert kills >= 3
    info = house.client.get(id)
    assert info.restarts == 4
    assert runs(house, id) == 5
    assert info.exit_status in (3, -1)
    house.client.delete(id)
    assert not (house.state / "default" / id).exists()


def test_a_stopped_one_stays_so_whoever_dies(house: House) -> None:
    id = run(house, "always", *STAYS)
    house.client.kill(id, signal.SIGKILL)
    house.client.wait(id, timeout=60)
    kill_now(house.pids()[1])
    house.pids()
    assert status(house, id) == "stopped"
