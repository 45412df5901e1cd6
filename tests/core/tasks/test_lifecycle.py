"""Tasks from create to delete, as a client sees them; with real containers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mobyshell.core.errors import (
    AlreadyExists,
    MobyshellError,
    NotFound,
    ShimLost,
    TimedOut,
    UsageError,
    WrongState,
)
from mobyshell.core.events import CallDone, Event, TaskExited
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Status
from mobyshell.core.tasks.client import TaskClient
from mobyshell.core.tasks.connect import connect
from tests.core.runtime.conftest import places_of
from tests.core.tasks.conftest import House, buried, kill_now
from tests.waiting import eventually

pytestmark = pytest.mark.root


def test_a_task_from_create_to_delete(house: House) -> None:
    client = house.client
    id = house.id()
    made = client.create(id, str(house.bundle), args=["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (made.status, made.exit_status, made.args[0]) == (Status.CREATED, None, "sh")
    assert client.ls() == [made] == [client.get(id)]
    running = client.start(id)
    assert running.pid == made.pid
    assert running.started_ns >= made.created_ns > 0
    assert client.wait(id, timeout=60) == 7
    ended = client.get(id)
    assert (ended.status, ended.exit_status, ended.pid) == (Status.STOPPED, 7, 0)
    assert ended.exited_ns >= ended.started_ns
    assert (house.output(id), house.output(id, "stderr")) == (b"out\n", b"err\n")
    assert client.wait(id) == 7
    assert client.delete(id) == 7
    assert client.ls() == []
    with pytest.raises(NotFound):
        client.get(id)
    with pytest.raises(NotFound):
        client.delete(id)


def test_what_the_bundle_says_runs_when_nothing_else_is_said(house: House) -> None:
    id = house.id()
    assert house.client.create(id, str(house.bundle)).args == ("true",)
    house.client.start(id)
    assert house.client.wait(id, timeout=60) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_128_and_its_number(house: House, number: int) -> None:
    # as pid 1 of its namespace it gets only signals it has a handler for, and SIGKILL
    id = house.sh("trap 'trap - TERM; exit 143' TERM; trap 'exit 138' USR1; echo ready; "
                  "while :; do sleep 0.02; done")  # fmt: skip
    eventually(lambda: house.output(id) == b"ready\n")
    house.client.kill(id, number)
    assert house.client.wait(id, timeout=60) == 128 + number


def test_a_wait_that_takes_too_long_says_so_and_the_task_lives(house: House) -> None:
    id = house.run("sleep", "60")
    with pytest.raises(TimedOut) as caught:
        house.client.wait(id, timeout=0.1)
    assert id in caught.value.message
    assert house.client.get(id).status is Status.RUNNING


def test_pause_and_resume(house: House) -> None:
    id = house.run("sleep", "60")
    with pytest.raises(WrongState):
        house.client.resume(id)
    house.client.pause(id)
    assert house.client.get(id).status is Status.PAUSED
    with pytest.raises(WrongState):
        house.client.pause(id)
    house.client.resume(id)
    assert house.client.get(id).status is Status.RUNNING
    house.client.pause(id)
    house.client.kill(id, signal.SIGKILL)
    assert house.client.wait(id, timeout=60) == 137
    assert house.client.get(id).status is Status.STOPPED


def _usher(shim: int) -> int:
    """The one usher of a shim."""
    pids = Path(f"/proc/{shim}/task/{shim}/children").read_text().split()
    (found,) = [pid for pid in pids if "usher" in Path(f"/proc/{pid}/comm").read_text()]
    return int(found)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="ushers are of the native executor")
def test_a_pause_lets_come_what_is_on_its_way_and_nothing_after_it(house: House) -> None:
    id = house.run("sleep", "60")
    house.client.exec(id, ["true"])  # from now on there is an usher, who can be held up
    usher = _usher(house.pids()[1])
    connection = connect(str(house.state))

    def exec() -> int:
        return connection.send("exec", house.client.namespace, {"id": id, "args": ["true"]})

    try:
        os.kill(usher, signal.SIGSTOP)
        eventually(lambda: procfs.stat(usher).state == "T")
        first = exec()
        pause = connection.send("pause", house.client.namespace, {"id": id})
        second = exec()
        # it is answered when all before it was begun
        synced = connection.send("sync", house.client.namespace, {})
        told = connection.message(60)
        assert told["id"] == synced, told
        os.kill(usher, signal.SIGCONT)
        answers = {one["id"]: one for one in (connection.message(60) for _ in range(3))}
        assert list(answers) == [first, pause, second]
        assert "ok" in answers[first]
        assert "ok" in answers[pause]
        assert "paused" in answers[second]["error"]["message"]
        assert house.client.get(id).status is Status.PAUSED
    finally:
        os.kill(usher, signal.SIGCONT)
        connection.close()
        house.client.resume(id)


def test_what_runs_is_not_deleted_unless_forced(house: House) -> None:
    id = house.run("sleep", "60")
    with pytest.raises(WrongState):
        house.client.delete(id)
    assert house.client.delete(id, force=True) == 137
    assert house.client.ls() == []


def test_a_created_task_can_be_deleted_and_its_name_used_again(house: House) -> None:
    id = house.run("sleep", "60", start=False)
    house.client.delete(id)
    house.client.create(id, str(house.bundle))
    house.client.start(id)
    assert house.client.wait(id, timeout=60) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("every", [False, True])
def test_a_created_task_ends_by_what_would_end_its_program(
    house: House, number: int, every: bool
) -> None:
    """Its first process is process 1 of a namespace, which ignores what it does not handle."""
    id = house.run("sleep", "1000", start=False)
    for harmless in (0, signal.SIGCONT, signal.SIGWINCH):
        house.client.kill(id, harmless)
    assert house.client.get(id).status is Status.CREATED
    house.client.kill(id, number, all_processes=every)
    assert house.client.wait(id, timeout=60) == 137
    with pytest.raises(WrongState):
        house.client.start(id)


def test_wrong_states_and_wrong_names(house: House) -> None:
    client, id = house.client, house.run("true")
    client.wait(id, timeout=60)
    for verb in (client.start, client.pause, client.resume):
        with pytest.raises(WrongState):
            verb(id)
        with pytest.raises(NotFound):
            verb("no-such-task")
    with pytest.raises(WrongState):
        client.kill(id, signal.SIGTERM)
    with pytest.raises(UsageError):
        client.kill(id, 999)
    with pytest.raises(AlreadyExists):
        client.create(id, str(house.bundle))
    with pytest.raises(UsageError):
        client.create("../x", str(house.bundle))
    with pytest.raises(WrongState):
        client.exec(id, ["true"])


@pytest.mark.parametrize("content", [None, "", "{", '{"ociVersion": 3}'])
def test_a_bad_bundle_is_an_error_and_leaves_nothing(house: House, content: str | None) -> None:
    bundle = house.path / "bad"
    bundle.mkdir()
    if content is not None:
        (bundle / "config.json").write_text(content)
    with pytest.raises(MobyshellError):
        house.client.create(house.id(), str(bundle))
    assert house.client.ls() == []
    assert os.listdir(house.state / ".making") == []


def test_a_create_that_fails_half_way_leaves_nothing(house: House) -> None:
    id = house.id()
    with pytest.raises(MobyshellError):
        house.client.create(id, str(house.bundle), args=[])
    (house.bundle / "rootfs").rename(house.bundle / "elsewhere")
    with pytest.raises(MobyshellError):
        house.client.create(id, str(house.bundle))
    assert os.listdir(house.state / ".making") == []
    assert not (house.state / "default" / id).exists()
    (house.bundle / "elsewhere").rename(house.bundle / "rootfs")
    house.client.create(id, str(house.bundle))


def test_a_program_that_is_not_there_fails_at_start(house: House) -> None:
    id = house.run("/no/such/program", start=False)
    with pytest.raises(MobyshellError) as caught:
        house.client.start(id)
    assert "/no/such/program" in caught.value.message + caught.value.hint
    assert house.client.wait(id, timeout=60) != 0


def test_of_two_that_create_one_id_at_once_one_wins(house: House) -> None:
    id = house.id()
    found: list[Status | AlreadyExists] = []

    def create() -> None:
        with TaskClient(house.state) as client:
            try:
                found.append(client.create(id, str(house.bundle), args=["sleep", "60"]).status)
            except AlreadyExists as error:
                found.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(Status.CREATED) == 1
    assert sum(isinstance(one, AlreadyExists) for one in found) == 3


def test_threads_that_share_a_client_make_containers_at_once(house: House) -> None:
    ids = [house.id() for _ in range(12)]

    def begin(id: str) -> int:
        house.client.create(id, str(house.bundle), args=["sh", "-c", "hostname; sleep 100"])
        return house.client.start(id).pid

    with ThreadPoolExecutor(4) as pool:
        pids = list(pool.map(begin, ids))
    assert len({os.readlink(f"/proc/{pid}/ns/net") for pid in pids}) == len(ids)
    for id, pid in zip(ids, pids, strict=True):
        groups = places_of(Path(f"/proc/{pid}/cgroup").read_text(), cgroups.detect().own)
        assert groups
        assert all(line.endswith(f"-{id}") for line in groups), groups
        calls = [one.payload for one in house.client.trace(id)]
        assert {"prepare", "setup", "exec"} <= {
            one.phase for one in calls if isinstance(one, CallDone)
        }
        house.client.delete(id, force=True)


def test_clients_that_need_a_shim_at_once_start_one(house: House) -> None:
    pids = set()

    def ask() -> None:
        pids.add(house.pids())

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 1


def test_namespaces_do_not_see_each_other(house: House) -> None:
    id = house.run("sleep", "60")
    with TaskClient(house.state, "other") as other:
        assert other.ls() == []
        with pytest.raises(NotFound) as caught:
            other.kill(id, 9)
        assert "default" in caught.value.hint
        with pytest.raises(NotFound) as caught:
            other.get(id)
        assert "default" in caught.value.hint
        same = house.run("sh", "-c", "exit 3", client=other)
        assert other.wait(same, timeout=60) == 3
        assert [one.id for one in other.ls()] == [same]


def test_many_threads_may_use_one_client(house: House) -> None:
    statuses: list[tuple[int, int]] = []

    def go(code: int) -> None:
        id = f"{prefix}-{code}"
        house.client.create(id, str(house.bundle), args=["sh", "-c", f"exit {code}"])
        house.client.start(id)
        statuses.append((code, house.client.wait(id, timeout=60)))
        house.client.delete(id)

    prefix = house.id()
    threads = [threading.Thread(target=go, args=(code,)) for code in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [(code, code) for code in range(1, 9)]


def test_the_trace_has_the_calls_and_the_recent_events_have_not(house: House) -> None:
    id = house.sh("exit 5")
    house.client.wait(id, timeout=60)
    trace = house.client.trace(id)
    topics = [event.topic for event in trace if event.topic.startswith("/tasks/")]
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit"]
    calls = [event for event in trace if event.topic == "/runtime/call"]
    assert len(calls) > 20
    assert [event.time_ns for event in trace] == sorted(event.time_ns for event in trace)
    recent = house.client.recent_events()
    assert [event.topic for event in recent if event.id == id] == topics
    house.client.delete(id)
    assert house.client.recent_events()[-1].topic == "/tasks/delete"


def test_events_come_as_they_happen(house: House) -> None:
    found: list[Event] = []
    ready, called = threading.Event(), threading.Event()

    def listen() -> None:
        with TaskClient(house.state) as client:
            for event in client.events(ready.set):
                if event.topic == "/runtime/call":
                    called.set()
                    continue
                found.append(event)
                if event.topic == "/tasks/delete":
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    assert ready.wait(60)
    id = house.sh("exit 4")
    house.client.wait(id, timeout=60)
    house.client.delete(id)
    thread.join(60)
    assert not thread.is_alive()
    assert called.is_set()
    topics = [event.topic for event in found if event.id == id]
    assert topics == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    (exited,) = [event.payload for event in found if isinstance(event.payload, TaskExited)]
    assert exited.exit_status == 4


def test_ps_stats_update_and_diff(house: House) -> None:
    id = house.sh("sleep 60 & sleep 61; true")
    sleeping = {"sleep 60", "sleep 61"}
    eventually(lambda: {one.command for one in house.client.ps(id)} >= sleeping)
    assert len(house.client.ps(id)) == 3
    assert house.client.stats(id).pids == 3
    house.client.update(id, {"pids": {"limit": 44}})
    assert house.client.stats(id).pids_limit == 44
    assert house.client.diff(id)


def test_the_shim_leaves_when_there_is_nothing_to_do(house: House) -> None:
    id = house.sh("exit 6")
    house.client.wait(id, timeout=60)
    keeper, shim = house.pids()
    house.client.close()
    eventually(
        lambda: not os.path.exists(f"/proc/{shim}") or not (house.state / "shim.sock").exists()
    )
    eventually(lambda: not (house.state / "shim.lock").exists())
    # what it knew is on disk, and a new one takes over
    with TaskClient(house.state) as client:
        assert client.get(id).exit_status == 6
        assert client.wait(id, timeout=60) == 6
        assert client.delete(id) == 6
        assert house.pids() != (keeper, shim)


def test_the_shim_stays_while_a_task_or_a_client_is_there(house: House) -> None:
    id = house.run("sleep", "60")
    pids = house.pids()
    house.client.close()
    time.sleep(0.6)  # three times as long as it lingers
    assert house.pids() == pids
    with TaskClient(house.state) as client:
        client.delete(id, force=True)
        time.sleep(0.6)
        assert house.pids() == pids


def test_coming_and_going_clients_never_meet_a_closed_door(house: House) -> None:
    """The moment a shim leaves is when a new client is told `no`, unless the protocol is right."""
    with TaskClient(house.state) as client:
        id = house.run("true", client=client)
        client.wait(id, timeout=60)
    for turn in range(12):
        time.sleep(0.17 + turn * 0.006)  # around the linger of 0.2 s
        with TaskClient(house.state) as client, pytest.raises(WrongState):
            client.kill(id, 15)


def test_keeper_and_shim_carry_nothing_of_their_client(house: House) -> None:
    leak, other = os.pipe()
    leaked = os.readlink(f"/proc/self/fd/{leak}")
    os.set_inheritable(leak, True)
    os.set_inheritable(other, True)
    house.path.joinpath("cwd").mkdir()
    before = os.getcwd()
    os.chdir(house.path / "cwd")
    try:
        pids = house.pids()
    finally:
        os.chdir(before)
        os.close(leak)
        os.close(other)
    for pid in pids:
        proc = Path(f"/proc/{pid}")
        assert os.readlink(proc / "cwd") == "/"
        assert {os.readlink(proc / "fd" / name) for name in ("0", "1")} == {"/dev/null"}
        assert os.stat(proc / "fd" / "0")
        targets = [os.readlink(one) for one in (proc / "fd").iterdir()]
        assert targets
        assert leaked not in targets
        stat = (proc / "stat").read_text().rpartition(")")[2].split()
        assert stat[4] == "0", "it has no terminal"
        assert int(stat[3]) != os.getsid(0)
        assert len(os.listdir(proc / "task")) == 1


def test_a_container_gets_nothing_of_the_shim(house: House) -> None:
    """No descriptor but its own, no ignored signal, no environment, the usual mask."""
    id = house.run("cat", "/proc/self/status")
    house.client.wait(id, timeout=60)
    status = dict(
        line.split(":\t", 1) for line in house.output(id).decode().splitlines() if ":\t" in line
    )
    assert (int(status["SigIgn"], 16), int(status["SigBlk"], 16)) == (0, 0)
    assert status["Umask"] == "0022"
    assert status["Pid"] == "1"
    id = house.run("ls", "-l", "/proc/self/fd")
    house.client.wait(id, timeout=60)
    links = [line.split(" -> ") for line in house.output(id).decode().splitlines() if "->" in line]
    assert [left.split()[-1] for left, _ in links] == ["0", "1", "2"]
    assert links[0][1] == "/dev/null"
    id = house.run("cat", "/proc/self/environ")
    house.client.wait(id, timeout=60)
    names = {one.partition(b"=")[0] for one in house.output(id).split(b"\0") if one.strip()}
    assert names <= {b"PATH", b"TERM", b"HOME"}


def test_a_created_container_holds_nothing_of_the_shim_either(house: House) -> None:
    """It is a copy of the shim until it executes its program; it must not keep locks alive."""
    pid = house.client.get(house.run("true", start=False)).pid
    targets = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    assert not [one for one in targets if "shim" in one or "staging" in one or "epoll" in one]


def test_a_task_with_a_damaged_record_can_still_be_deleted(house: House) -> None:
    id = house.run("sleep", "60")
    pid = house.client.get(id).pid
    kill_now(*house.pids())
    (house.state / "default" / id / "task" / "process.json").write_text("{")
    assert [(one.id, one.exit_status) for one in house.client.ls()] == [(id, -1)]
    with pytest.raises(MobyshellError) as caught:
        house.client.get(id)
    assert "--force" in caught.value.hint
    house.pids()  # a successor is there
    with pytest.raises(MobyshellError, match="is damaged"):
        house.client.delete(id)
    house.client.delete(id, force=True)
    assert house.client.ls() == []
    eventually(lambda: buried(pid))


def test_a_container_that_somebody_else_deleted_can_be_forgotten(house: House) -> None:
    id = house.run("true")
    house.client.wait(id, timeout=60)
    run(Runtime(house.state / "default").delete(id))
    assert house.client.delete(id) == 0
    with pytest.raises(NotFound):
        house.client.delete(id)


def test_more_tasks_than_the_limit_of_descriptors_first_allows(house: House) -> None:
    ids = [house.id() for _ in range(30)]
    # started by a process of its own: this one may have more open than that already
    code = (
        "import resource, sys\n"
        "from mobyshell.core.tasks.client import TaskClient\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (80, hard))\n"
        "TaskClient(sys.argv[1]).create(sys.argv[2], sys.argv[3], args=['true'])\n"
    )
    subprocess.run([sys.executable, "-c", code, house.state, house.id(), house.bundle], check=True)
    for id in ids:
        house.client.create(id, str(house.bundle), args=["sh", "-c", "ulimit -n; sleep 60"])
    for id in ids:
        house.client.start(id)
    assert len(house.client.ls()) == 31
    assert len(os.listdir(f"/proc/{house.pids()[1]}/fd")) > 80


def test_closing_a_client_ends_what_waits_in_other_threads(house: House) -> None:
    """A face that is left must not hang in the threads that follow."""
    id, ended = house.run("sleep", "60"), []
    client, subscribed = TaskClient(house.state), threading.Event()

    def wait() -> None:
        try:
            client.wait(id)
        except ShimLost:
            ended.append("wait")

    def listen() -> None:
        ended.extend("event" for _ in client.events(subscribed.set))
        ended.append("events")

    def follow() -> None:
        ended.extend("line" for _ in client.logs(id, follow=True))
        ended.append("logs")

    threads = [threading.Thread(target=one) for one in (wait, listen, follow)]
    for thread in threads:
        thread.start()
    try:
        assert subscribed.wait(60)
        time.sleep(0.3)  # the other two are under way by then; there is nothing to see it by
        assert ended == []
    finally:
        client.close()
        for thread in threads:
            thread.join(60)
    assert sorted(ended) == ["events", "logs", "wait"]
    assert client.get(id).pid > 0
    client.pause(id)
    client.close()


def test_a_shim_whose_state_root_was_removed_leaves_too(house: House) -> None:
    old = house.pids()
    shutil.rmtree(house.state)
    with TaskClient(house.state) as client:
        id = house.run("sleep", "60", client=client)
        new = house.pids()
        assert not set(old) & set(new)
        house.client.close()
        eventually(lambda: buried(*old))
        # and it took nothing with it that is its successor's
        assert house.pids() == new
        assert (house.state / "shim.lock").exists()
        client.kill(id, signal.SIGKILL)
        assert client.wait(id, timeout=60) == 137


def test_events_of_every_namespace(house: House) -> None:
    found: list[Event] = []
    subscribed = threading.Event()

    def listen() -> None:
        with TaskClient(house.state) as client:
            for event in client.events(subscribed.set, everywhere=True):
                if event.topic == "/tasks/delete":
                    found.append(event)
                    if len(found) == 2:
                        return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert subscribed.wait(60)
    with TaskClient(house.state, "other") as other:
        for client in (other, house.client):
            id = house.run("true", client=client)
            client.wait(id, timeout=60)
            client.delete(id)
    thread.join(60)
    assert [event.namespace for event in found] == ["other", "default"]
    told = house.client.recent_events(everywhere=True)
    assert {event.namespace for event in told} == {"other", "default"}
    assert {event.namespace for event in house.client.recent_events()} == {"default"}
