"""`kill -9` of the shim, of the keeper, of both: tasks run on, nothing is lost, all is reported."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from mobyshell.core.errors import ShimLost
from mobyshell.core.runtime.values import Status
from mobyshell.core.tasks.client import TaskClient
from mobyshell.core.tasks.service import Attachment
from tests.core.tasks.conftest import House, kill_now, parent_of
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("undertaker")]

COUNTER = (
    "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo $i; [ $((i%100)) -eq 0 ] && sleep 0.02; done;"
    "until [ -e /go ]; do sleep 0.02; done; exit 9"
)
"""It has said everything, and is there until it may go: what is in a pipe that nobody has open any
more, the kernel throws away."""


def may_go(house: House) -> None:
    """Somebody is there who listens, however long that took: `COUNTER` may end."""
    house.pids()
    (house.bundle / "rootfs" / "go").touch()


def numbers(house: House, id: str) -> list[int]:
    return [int(line) for line in house.output(id).split()]


def successor(house: House, before: int) -> int:
    """The pid of the shim after `before`."""
    eventually(lambda: house.pids()[1] != before)
    return house.pids()[1]


@pytest.mark.parametrize("who", ["shim", "keeper", "both"])
def test_a_counter_is_in_the_log_exactly_once(house: House, who: str) -> None:
    id = house.sh(COUNTER)
    eventually(lambda: len(numbers(house, id)) > 300)
    keeper, shim = house.pids()
    kill_now(*{"shim": [shim], "keeper": [keeper], "both": [keeper, shim]}[who])
    time.sleep(0.1)
    may_go(house)
    assert house.client.wait(id, timeout=30) == 9
    assert numbers(house, id) == list(range(1, 4001))
    assert house.client.get(id).status is Status.STOPPED
    assert house.client.delete(id) == 9


def test_a_shim_killed_again_and_again_loses_nothing(house: House) -> None:
    """At moments nobody chose: in the middle of a busy writer."""
    id = house.sh("seq 1 600000; exit 9")
    kills = 0
    until = time.monotonic() + 60
    while house.client.get(id).exit_status is None and time.monotonic() < until:
        shim = house.pids()[1]
        time.sleep(0.013 * (kills % 4))
        try:
            os.kill(shim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        kills += 1
    assert house.client.wait(id, timeout=30) == 9
    assert kills >= 3
    assert numbers(house, id) == list(range(1, 600_001))


def test_the_successor_says_that_it_took_over(house: House) -> None:
    id = house.run("sleep", "60")
    _, shim = house.pids()
    kill_now(shim)
    successor(house, shim)
    assert [event.topic for event in house.client.trace(id)][-1] == "/tasks/adopt"
    assert house.client.get(id).status is Status.RUNNING


def test_the_last_events_of_a_shim_are_not_lost(house: House) -> None:
    for number in range(5):
        id = house.run("sh", "-c", "exit 3")
        house.client.wait(id, timeout=60)
        _, shim = house.pids()
        kill_now(shim)
        successor(house, shim)
        topics = [event.topic for event in house.client.recent_events() if event.id == id]
        assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit"], number


def test_a_task_that_ends_while_there_is_no_shim(house: House) -> None:
    """The keeper reaps it and writes down how; its last output is still in the FIFO it holds."""
    id = house.sh("echo before; read x < /dev/null; sleep 0.3; echo after; exit 21")
    eventually(lambda: numbers_or_text(house, id) == b"before\n")
    keeper, shim = house.pids()
    os.kill(keeper, signal.SIGSTOP)  # so that it does not start a successor yet
    try:
        kill_now(shim)
        eventually(lambda: state_of(house.client.get(id).pid) in "Z ")
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert house.client.wait(id, timeout=60) == 21
    assert house.output(id) == b"before\nafter\n"


def state_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except OSError:
        return " "


def numbers_or_text(house: House, id: str) -> bytes:
    return house.output(id)


def test_with_both_dead_a_task_that_ended_is_stopped_with_an_unknown_status(house: House) -> None:
    id = house.sh("trap 'exit 8' USR1; echo ready; while :; do sleep 0.05; done")
    eventually(lambda: house.output(id) == b"ready\n")
    pid = house.client.get(id).pid
    kill_now(*house.pids())
    house.client.close()
    os.kill(pid, signal.SIGUSR1)
    eventually(lambda: house.client.get(id).status is Status.STOPPED)
    with TaskClient(house.state) as client:
        assert client.wait(id, timeout=60) == -1
        assert client.get(id).exited_ns > 0
        assert client.delete(id) == -1


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_statuses_come_also_after_the_shim_became_the_keeper(
    house: House, signal_number: int
) -> None:
    """The keeper dies: the shim takes its place, and its fork goes on as the shim."""
    id = house.sh("trap 'exit 33' TERM; echo up; while :; do sleep 0.02; done")
    eventually(lambda: house.output(id) == b"up\n")
    keeper, shim = house.pids()
    kill_now(keeper)
    successor(house, shim)
    assert house.pids()[0] == shim
    house.client.kill(id, signal_number)
    assert house.client.wait(id, timeout=60) == (137 if signal_number == 9 else 33)
    # and the new pair is as good as the old one
    second = house.sh(COUNTER)
    kill_now(house.pids()[1])
    may_go(house)
    assert house.client.wait(second, timeout=60) == 9
    assert numbers(house, second) == list(range(1, 4001))
    kill_now(house.pids()[0])
    third = house.run("sh", "-c", "exit 4")
    assert house.client.wait(third, timeout=60) == 4


def test_a_waiting_client_does_not_notice(house: House) -> None:
    id, found = house.sh("trap 'exit 17' TERM; echo up; while :; do sleep 0.02; done"), []
    eventually(lambda: house.output(id) == b"up\n")
    thread = threading.Thread(target=lambda: found.append(house.client.wait(id, timeout=90)))
    thread.start()
    keeper, shim = house.pids()
    kill_now(shim)
    successor(house, shim)
    kill_now(*house.pids())
    # both died, but the task ends after a new pair has adopted it
    assert house.pids()[0] != keeper
    house.client.kill(id, signal.SIGTERM)
    thread.join(90)
    assert found == [17]


def test_the_next_call_does_not_notice(house: House) -> None:
    id = house.run("sleep", "60")
    shim = house.pids()[1]
    assert house.client.exec(id, ["true"]).pid  # its connection is kept for the next one
    kill_now(shim)
    eventually(lambda: not os.path.exists(f"/proc/{shim}"))
    assert house.client.exec(id, ["true"]).pid
    house.client.kill(id, signal.SIGKILL)
    assert house.client.wait(id, timeout=60) == 137


def test_a_client_whose_call_was_under_way_is_told(house: House) -> None:
    """What is not known to be safe is not done twice; the next call finds the successor."""
    id = house.sh("exec sleep 60")
    _, shim = house.pids()
    os.kill(shim, signal.SIGSTOP)
    thread = threading.Timer(0.2, kill_now, [shim])
    thread.start()
    with pytest.raises(ShimLost) as caught:
        house.client.kill(id, signal.SIGUSR1)
    assert caught.value.hint
    thread.join()
    house.client.kill(id, signal.SIGKILL)
    assert house.client.wait(id, timeout=60) == 137


def test_followers_of_log_and_attachment_go_on(house: House) -> None:
    id = house.sh(COUNTER, start=False)
    attached = house.client.attach(id)
    logged: list[int] = []

    def follow() -> None:
        logged.extend(int(line.data) for line in house.client.logs(id, follow=True))

    thread = threading.Thread(target=follow)
    thread.start()
    house.client.start(id)
    seen, kills = b"", 0
    while (found := attached.read()) is not None:
        assert found[0] == "stdout"
        seen += found[1]
        if kills < 2 and len(seen) > 1000 * (kills + 1):
            kill_now(*house.pids()[1 - kills :])  # first the shim, then both
            kills += 1
            if kills == 2:
                may_go(house)
    thread.join(60)
    assert kills == 2
    assert [int(one) for one in seen.split()] == list(range(1, 4001)) == logged
    attached.close()


def test_a_terminal_survives_the_shim(house: House) -> None:
    id = house.sh("while read x; do echo got:$x; done; exit 3", terminal=True, stdin=True)
    attached = house.client.attach(id)
    attached.write(b"one\n")
    read_until(attached, b"got:one")
    _, shim = house.pids()
    kill_now(shim)
    successor(house, shim)
    attached.write(b"two\n")
    read_until(attached, b"got:two")
    again = house.client.attach(id)
    again.write(b"three\n")
    read_until(again, b"got:three")
    again.write(b"\x04")
    read_until(again, None)
    assert house.client.wait(id, timeout=60) == 3
    attached.close()
    again.close()


def read_until(attached: Attachment, text: bytes | None) -> bytes:
    """Read until `text` (None: the end) was seen."""
    seen = b""
    while text is None or text not in seen:
        found = attached.read()
        if found is None:
            assert text is None, seen
            break
        seen += found[1]
    return seen


def test_input_stays_open_when_the_shim_dies_and_can_still_be_ended(house: House) -> None:
    id = house.sh("cat; exit 5", stdin=True)
    attached = house.client.attach(id)
    attached.write(b"one\n")
    eventually(lambda: house.output(id) == b"one\n")
    _, shim = house.pids()
    kill_now(shim)
    successor(house, shim)
    attached.write(b"two\n")
    eventually(lambda: house.output(id) == b"one\ntwo\n")
    attached.close_stdin()
    assert house.client.wait(id, timeout=60) == 5
    attached.close()


def test_input_that_was_ended_stays_ended(house: House) -> None:
    id = house.sh("cat; sleep 0.5; exit 5", stdin=True)
    attached = house.client.attach(id)
    attached.close_stdin()
    _, shim = house.pids()
    time.sleep(0.1)
    kill_now(shim)
    assert house.client.wait(id, timeout=60) == 5
    attached.close()


def test_processes_of_exec_are_adopted_too(house: House) -> None:
    id = house.run("sleep", "60")
    made = house.client.exec(id, ["sh", "-c", "sleep 0.5; echo done; exit 12"])
    _, shim = house.pids()
    kill_now(shim)
    assert house.client.wait(id, exec_id=made.exec_id, timeout=60) == 12
    lines = list(house.client.logs(id, exec_id=made.exec_id))
    assert [line.data for line in lines] == [b"done"]


def test_a_create_the_shim_dies_in_leaves_nothing(house: House) -> None:
    """A hook that hangs holds the create up; the successor clears it away."""
    import json

    config = house.bundle / "config.json"
    document = json.loads(config.read_text())
    document["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "30"]}]}
    config.write_text(json.dumps(document))
    id, found = house.id(), []

    def create() -> None:
        try:
            house.client.create(id, str(house.bundle))
        except ShimLost as error:
            found.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    eventually(lambda: (house.state / "default" / id / "state.json").exists())
    _, shim = house.pids()
    hook = [pid for pid in children_of(shim) if b"sleep" in command_of(pid)]
    kill_now(shim)
    thread.join(60)
    assert len(found) == 1
    successor(house, shim)
    eventually(lambda: not (house.state / "default" / id).exists())
    assert house.client.ls() == []
    eventually(
        lambda: os.listdir(house.state / ".making") == []
    )  # it is swept when it has answered
    kill_now(*hook)


def children_of(pid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if parent_of(int(name)) == pid:
                    found.append(int(name))
            except OSError:
                continue
    return found


def command_of(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_deletes_and_lists_work_on_what_a_successor_adopted_stopped(house: House) -> None:
    id = house.sh("exit 2")
    house.client.wait(id, timeout=60)
    for _ in range(3):
        kill_now(house.pids()[1])
    assert house.client.get(id).exit_status == 2
    assert house.client.delete(id) == 2
    assert house.client.ls() == []
