"""The same exec again and again: quicker, and in everything else what the first one is."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound, WrongState
from mobyshell.core.events import CallDone, ExecAdded, ExecStarted, TaskExited
from mobyshell.core.tasks.connect import connect
from mobyshell.core.tasks.exec_head import ExecHead
from mobyshell.core.tasks.paths import exec_dir
from mobyshell.core.tasks.records import read_record
from mobyshell.core.tasks.wire import named, parse_message, split_named
from tests.core.tasks.conftest import House, kill_now
from tests.waiting import eventually

pytestmark = pytest.mark.root
TIMES = 4


def again(house: House, id: str, *args: str, **options: object) -> list[int]:
    """The statuses of the same process, several times."""
    found = []
    for _ in range(TIMES):
        made = house.client.exec(id, args, **options)  # type: ignore[arg-type]
        found.append(house.client.wait(id, exec_id=made.exec_id, timeout=60))
    return found


def said(house: House, id: str, exec_id: str) -> bytes:
    """What a process has put out."""
    return b"".join(line.data for line in house.client.logs(id, exec_id=exec_id))


def test_each_is_a_process_of_its_own_with_its_output_and_its_record(house: House) -> None:
    id = house.sh("sleep 1000")
    for number in range(TIMES):
        name = f"e{number}"
        made = house.client.exec(id, ["sh", "-c", "echo $$ $HOME; exit 3"], exec_id=name)
        assert made.exec_id == name
        assert house.client.wait(id, exec_id=name, timeout=60) == 3
        assert house.client.wait(id, exec_id=name, timeout=60) == 3  # also who asks once more
        assert said(house, id, name).split()[1:] == [b"/"]
        directory = exec_dir(str(house.state), house.client.namespace, id, name)
        eventually(lambda at=directory: getattr(read_record(at), "exit_status", None) == 3)  # type: ignore[misc]
        record = read_record(directory)
        assert record is not None
        assert (record.pid, record.exec_id, record.args) == (
            made.pid, name, ["sh", "-c", "echo $$ $HOME; exit 3"],
        )  # fmt: skip
        with pytest.raises(AlreadyExists):
            house.client.exec(id, ["sh", "-c", "echo $$ $HOME; exit 3"], exec_id=name)
    with pytest.raises(MobyshellError, match="invalid"):
        house.client.exec(id, ["sh", "-c", "echo $$ $HOME; exit 3"], exec_id="../e")


def test_what_is_recorded_of_it_is_the_same(house: House) -> None:
    id = house.run("sleep", "1000")
    again(house, id, "true")
    eventually(lambda: len([one for one in house.client.trace(id)
                            if isinstance(one.payload, TaskExited)]) == TIMES)  # fmt: skip
    calls: list[list[str]] = [[]]
    told: list[str] = []
    for event in house.client.trace(id):
        if isinstance(event.payload, CallDone):
            calls[-1].append(event.payload.name)
        elif isinstance(event.payload, (ExecAdded, ExecStarted, TaskExited)):
            told.append(type(event.payload).__name__)
            calls.append([])
    assert told == ["ExecAdded", "ExecStarted", "TaskExited"] * TIMES
    of_each = [names for names in calls if names][-TIMES + 1 :]
    assert len(of_each) == TIMES - 1
    assert all(names == of_each[0] for names in of_each)


def test_what_cannot_be_executed_is_refused_each_time(house: House) -> None:
    id = house.run("sleep", "1000")
    before = set(os.listdir(f"{house.state}/.making"))
    for _ in range(2):
        for _ in range(TIMES):
            with pytest.raises(MobyshellError, match="nowhere"):
                house.client.exec(id, ["nowhere"], exec_id="e")
            with pytest.raises(NotFound):
                house.client.wait(id, exec_id="e")
        assert again(house, id, "true") == [0] * TIMES
    # what was fit to be executed need not stay so
    program = house.bundle / "rootfs/bin/true"
    away = program.rename(program.with_name("away"))
    try:
        for _ in range(TIMES):
            with pytest.raises(MobyshellError, match="true"):
                house.client.exec(id, ["true"], exec_id="e")
            with pytest.raises(NotFound):
                house.client.wait(id, exec_id="e")
            assert not os.path.exists(exec_dir(str(house.state), house.client.namespace, id, "e"))
    finally:
        away.rename(program)
    assert again(house, id, "true") == [0] * TIMES
    eventually(lambda: len(set(os.listdir(f"{house.state}/.making")) - before) <= 1)


def test_a_paused_or_ended_task_takes_none(house: House) -> None:
    id = house.run("sleep", "1000")
    again(house, id, "true")
    house.client.pause(id)
    with pytest.raises(WrongState, match="paused"):
        house.client.exec(id, ["true"])
    house.client.resume(id)
    assert again(house, id, "true") == [0] * TIMES
    house.client.kill(id, signal.SIGKILL)
    house.client.wait(id, timeout=60)
    with pytest.raises(WrongState, match="stopped"):
        house.client.exec(id, ["true"])


def test_an_id_that_is_taken_anew_is_another_task(house: House) -> None:
    id = house.run("sleep", "1000")
    again(house, id, "sh", "-c", "exit $(readlink /proc/1/ns/net | tr -dc 0-9 | tail -c 2)")
    house.client.delete(id, force=True)
    with pytest.raises(NotFound):
        house.client.exec(id, ["true"])
    house.client.create(id, str(house.bundle), args=["sleep", "1000"])
    house.client.start(id)
    namespace = os.readlink(f"/proc/{house.task_pid(id)}/ns/net")
    for _ in range(TIMES):
        made = house.client.exec(id, ["readlink", "/proc/1/ns/net"])
        assert house.client.wait(id, exec_id=made.exec_id, timeout=60) == 0
        assert said(house, id, made.exec_id).decode() == namespace


def test_other_words_are_another_process(house: House) -> None:
    id = house.run("sleep", "1000")
    for _ in range(TIMES):
        for words, answer in (
            ({"env": ["A=1"]}, b"1 / 0"), ({"env": ["A=2"]}, b"2 / 0"),
            ({"env": ["A=2"], "cwd": "/proc"}, b"2 /proc 0"), ({"user": "7:8"}, b" / 7"),
        ):  # fmt: skip
            script = "echo $A $(pwd) $(id -u)" if "env" in words else "echo ' ' $(pwd) $(id -u)"
            made = house.client.exec(id, ["sh", "-c", script], **words)
            assert house.client.wait(id, exec_id=made.exec_id, timeout=60) == 0
            assert said(house, id, made.exec_id).split() == answer.split()


def test_several_at_once(house: House) -> None:
    id = house.run("sleep", "1000")
    again(house, id, "sh", "-c", "sleep 0.05; exit 5")
    made = [house.client.exec(id, ["sh", "-c", "sleep 0.05; exit 5"]) for _ in range(8)]
    assert len({one.exec_id for one in made}) == len({one.pid for one in made}) == 8
    for one in reversed(made):
        assert house.client.wait(id, exec_id=one.exec_id, timeout=60) == 5
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: found.append(again(house, id, "sh", "-c", "exit 5")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [[5] * TIMES] * 4


def test_an_end_is_told_to_who_asks_in_whatever_way(house: House) -> None:
    id = house.run("sleep", "1000")
    for _ in range(2):
        first = house.client.exec(id, ["sh", "-c", "exit 4"])
        other = house.client.exec(id, ["sh", "-c", "exit 4"])
        house.client.stats(id)  # by the connection on which both ends are told
        assert house.client.wait(id, exec_id=other.exec_id, timeout=60) == 4
        assert house.client.wait(id, exec_id=first.exec_id, timeout=60) == 4
    late = house.client.exec(id, ["sleep", "1000"])
    with pytest.raises(MobyshellError, match="has not ended"):
        house.client.wait(id, exec_id=late.exec_id, timeout=0.1)
    house.client.kill(id, signal.SIGKILL, exec_id=late.exec_id)
    assert house.client.wait(id, exec_id=late.exec_id, timeout=60) == 137


def test_who_waits_is_told_that_all_of_it_was_deleted(house: House) -> None:
    id = house.run("sleep", "1000")
    again(house, id, "true")
    made = house.client.exec(id, ["sleep", "1000"])
    told: list[int | str] = []

    def wait() -> None:
        try:
            told.append(house.client.wait(id, exec_id=made.exec_id, timeout=60))
        except MobyshellError as error:
            told.append(type(error).__name__)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    house.client.delete(id, force=True)
    thread.join(60)
    assert told in ([137], [-1], ["NotFound"])


def test_a_shim_that_dies_takes_nothing_along(house: House) -> None:
    id = house.run("sleep", "1000")
    again(house, id, "sh", "-c", "echo on; sleep 0.2; exit 6")
    made = house.client.exec(id, ["sh", "-c", "echo on; sleep 0.2; exit 6"])
    kill_now(house.pids()[1])
    assert house.client.wait(id, exec_id=made.exec_id, timeout=60) == 6
    assert said(house, id, made.exec_id) == b"on"
    assert again(house, id, "sh", "-c", "echo on; sleep 0.2; exit 6") == [6] * TIMES


def test_only_the_very_same_request_is_the_same() -> None:
    heads = ExecHead("n")
    words = (("echo", '","exec_id":"x"},"id":7}'), False, False, (), "", "", 0, 0)
    head = heads.of("t", *words)
    assert heads.of("t", *words) is head
    frame = named(head, "e1", 12)
    document = parse_message(frame[5:])
    assert (document["id"], document["args"]["exec_id"]) == (12, "e1")
    assert document["args"]["args"] == list(words[0])
    assert split_named(frame[5:]) == (head, "e1", 12)
    for other in (b"{}", b'{"id":1}', frame[5:] + b" ", frame[5:].replace(b"12", b"x")):
        assert split_named(other) == (b"", "", 0)


def test_a_shim_that_does_not_tell_of_ends_is_asked(house: House) -> None:
    id = house.run("sleep", "1000")
    connection = connect(str(house.state))
    try:
        for _ in range(TIMES):
            args = {"id": id, "args": ["sh", "-c", "exit 9"]}
            made = connection.request("exec", house.client.namespace, args)
            assert "ends" not in made
            asked = {"id": id, "exec_id": made["exec_id"]}
            told = connection.request("wait", house.client.namespace, asked)
            assert told == {"exit_status": 9}
            assert not connection.ends
    finally:
        connection.close()
