"""Standard streams: attached, detached, at a terminal, through pipes, in processes of exec."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound, UsageError, WrongState
from mobyshell.core.tasks.attach import BACKLOG
from mobyshell.core.tasks.attachment import LogAttachment, TerminalAttachment
from mobyshell.core.tasks.service import Attachment
from tests.core.tasks.conftest import House
from tests.waiting import eventually

pytestmark = pytest.mark.root


def read_until(attached: Attachment, text: bytes) -> bytes:
    """Read until `text` was seen; all that was read."""
    seen = b""
    while text not in seen:
        found = attached.read()
        assert found is not None, seen
        seen += found[1]
    return seen


def read_all(attached: Attachment) -> dict[str, bytes]:
    """Read to the end, by stream."""
    seen: dict[str, bytes] = {}
    while (found := attached.read()) is not None:
        seen[found[0]] = seen.get(found[0], b"") + found[1]
    return seen


class Attach(Protocol):
    def __call__(self, id: str, exec_id: str = "") -> TerminalAttachment | LogAttachment: ...


@pytest.fixture
def attach(house: House) -> Iterator[Attach]:
    """`client.attach`, closed at the end."""
    opened: list[Attachment] = []

    def go(id: str, exec_id: str = "") -> TerminalAttachment | LogAttachment:
        attached = house.client.attach(id, exec_id=exec_id)
        opened.append(attached)
        assert isinstance(attached, TerminalAttachment | LogAttachment)
        return attached

    yield go
    for one in opened:
        one.close()


# without a terminal


def test_a_foreground_run_gets_every_byte(house: House, attach: Attach) -> None:
    id = house.sh("seq 1 20000; printf 'no newline'; echo oops >&2; exit 3", start=False)
    attached = attach(id)
    house.client.start(id)
    seen = read_all(attached)
    expected = b"".join(b"%d\n" % n for n in range(1, 20001)) + b"no newline"
    assert seen == {"stdout": expected, "stderr": b"oops\n"}
    assert attached.exit_status == 3
    assert attached.read() is None


def test_binary_output_comes_unchanged(house: House, attach: Attach) -> None:
    blob = bytes(range(256)) * 300 + b"\n\n\r\n\0"
    (house.bundle / "rootfs" / "tmp" / "blob").write_bytes(blob)
    id = house.run("cat", "/tmp/blob", start=False)
    attached = attach(id)
    house.client.start(id)
    assert read_all(attached) == {"stdout": blob}
    assert house.output(id) == blob


def test_input_goes_in_and_its_end_too(house: House, attach: Attach) -> None:
    id = house.sh("cat; echo end; exit 4", stdin=True)
    attached = attach(id)
    data = os.urandom(3_000_000).hex().encode()

    def send() -> None:
        attached.write(data)
        attached.close_stdin()

    sender = threading.Thread(target=send)
    sender.start()
    assert read_all(attached) == {"stdout": data + b"end\n"}
    sender.join()
    assert attached.exit_status == 4
    attached.write(b"too late")
    attached.close_stdin()


def test_without_stdin_it_is_dev_null(house: House, attach: Attach) -> None:
    id = house.sh("cat; readlink /proc/self/fd/0")
    attached = attach(id)
    attached.write(b"ignored")
    attached.close_stdin()
    assert house.client.wait(id, timeout=60) == 0
    assert house.output(id) == b"/dev/null\n"


def test_a_task_that_does_not_read_blocks_its_writer_not_the_shim(
    house: House, attach: Attach
) -> None:
    id = house.run("sleep", "60", stdin=True)
    attached = attach(id)
    writer = threading.Thread(target=attached.write, args=(b"x" * 8_000_000,))
    writer.start()
    writer.join(0.5)
    assert writer.is_alive(), "eight megabytes have no place on the way"
    other = house.sh("echo fine")
    assert house.client.wait(other, timeout=60) == 0
    house.client.kill(id, signal.SIGKILL)
    writer.join(60)
    assert not writer.is_alive()


def test_fileno_is_readable_when_there_is_something(house: House, attach: Attach) -> None:
    """A face that waits for keyboard and task at once misses nothing and never hangs in read."""
    id = house.sh(
        "i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo $i; echo e$i >&2; sleep 0.01; done"
    )
    attached = attach(id)
    seen: dict[str, bytes] = {}
    while True:
        ready, _, _ = select.select([attached.fileno()], [], [], 10)
        assert ready, f"nothing became readable after {seen}"
        found = attached.read()
        if found is None:
            break
        seen[found[0]] = seen.get(found[0], b"") + found[1]
    assert seen["stdout"].split() == [b"%d" % n for n in range(1, 31)]
    assert seen["stderr"].split() == [b"e%d" % n for n in range(1, 31)]


def test_detaching_leaves_the_task_alone_and_closing_wakes_a_reader(house: House) -> None:
    id = house.sh("while :; do sleep 0.05; echo x; done")
    attached = house.client.attach(id)
    found: list[None] = []
    read_until(attached, b"x")

    def read_on() -> None:
        while attached.read() is not None:
            continue
        found.append(None)

    thread = threading.Thread(target=read_on)
    thread.start()
    time.sleep(0.1)
    attached.close()
    thread.join(60)
    assert found == [None]
    before = len(house.output(id))
    eventually(lambda: len(house.output(id)) > before)
    again = house.client.attach(id)
    read_until(again, b"x")
    again.close()


def test_attaching_late_shows_the_last_lines(house: House, attach: Attach) -> None:
    id = house.sh("seq 1 50000; read x; echo $x", stdin=True)
    eventually(lambda: b"\n50000\n" in house.output(id))
    attached = attach(id)
    attached.write(b"last\n")
    seen = read_all(attached)["stdout"]
    assert seen.endswith(b"49999\n50000\nlast\n")
    numbers = [int(one) for one in seen.split()[:-1]]
    assert numbers == list(range(numbers[0], 50001))
    assert len(seen) < 100_000


def test_attaching_to_what_has_ended_shows_it_and_its_status(house: House, attach: Attach) -> None:
    id = house.sh("echo bye; exit 6")
    house.client.wait(id, timeout=60)
    attached = attach(id)
    assert read_all(attached) == {"stdout": b"bye\n"}
    assert attached.exit_status == 6
    with pytest.raises(NotFound):
        house.client.attach("no-such-task")


def test_a_client_that_never_reads_does_not_slow_a_task(house: House, attach: Attach) -> None:
    """200 MB through a pipe: bounded on disk, at the speed of the machine, whoever is attached."""
    id = house.sh("yes 0123456789012345678901234567890123456789 | head -c 200000000; exit 8",
                  start=False)  # fmt: skip
    for _ in range(3):
        attach(id)
    house.client.start(id)
    logs = house.state / "default" / id / "task" / "logs"
    most = 0
    while house.client.get(id).exit_status is None:
        most = max(most, sum(size_of(one) for one in logs.glob("*")))
        time.sleep(0.02)
    assert house.client.wait(id) == 8
    assert most <= 4 * (8 << 20)
    kept = list(house.client.logs(id))
    assert all(line.data == b"0123456789" * 4 for line in kept[1:-1])
    assert len(kept) > 100_000
    with open(f"/proc/{house.pids()[1]}/status") as file:
        rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    assert rss < 40_000, "the shim keeps no output in memory"


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_slow_reader_of_a_rotated_log_is_told(house: House, attach: Attach) -> None:
    id = house.sh("head -c 60000000 /dev/zero | tr '\\0' 'a' | fold -w 79; echo; echo end")
    attached = attach(id)
    first = attached.read()
    assert first is not None
    house.client.wait(id, timeout=60)
    seen = read_all(attached)
    assert int(seen["lost"]) > 1_000_000
    assert seen["stdout"].endswith(b"\nend\n")


# at a terminal


def test_a_terminal_has_the_size_it_was_given_and_follows(house: House, attach: Attach) -> None:
    id = house.sh(
        "trap 'echo winch; stty size' WINCH; stty size; while :; do read x; echo line:$x; done",
        terminal=True, rows=33, columns=101,
    )  # fmt: skip
    attached = attach(id)
    read_until(attached, b"33 101")
    attached.resize(50, 132)
    attached.write(b"go\n")
    assert b"50 132" in read_until(attached, b"line:go")
    # the same size again: whoever attaches wants to see the screen drawn anew
    attached.resize(50, 132)
    attached.write(b"again\n")
    assert b"winch" in read_until(attached, b"line:again")


def test_several_clients_at_one_terminal(house: House, attach: Attach) -> None:
    id = house.sh("stty -echo; echo ready; while read x; do echo got:$x; done", terminal=True)
    first = attach(id)
    read_until(first, b"ready")
    second = attach(id)
    assert b"ready" in read_until(second, b"ready"), "the last screenful is shown again"
    first.write(b"one\n")
    read_until(first, b"got:one")
    second.write(b"two\n")
    read_until(first, b"got:two")
    assert b"got:one" in read_until(second, b"got:two")
    first.close()
    second.write(b"three\n")
    read_until(second, b"got:three")
    second.write(b"\x04")
    assert house.client.wait(id, timeout=60) == 0


def test_output_before_the_first_client_is_kept_for_it(house: House, attach: Attach) -> None:
    id = house.sh("seq 1 20000; read x", terminal=True)
    eventually(lambda: b"20000" in house.output(id))
    seen = read_until(attach(id), b"20000\r\n")
    assert seen == b"".join(b"%d\r\n" % n for n in range(1, 20001))
    again = read_until(attach(id), b"20000\r\n")
    assert len(again) < 40_000


def test_a_terminal_client_that_does_not_read_loses_output_with_a_mark(
    house: House, attach: Attach
) -> None:
    id = house.sh("stty -opost; read x; seq 1 2000000; echo; echo end; read y", terminal=True)
    slow, quick = attach(id), attach(id)
    quick.write(b"\n")
    total, last = 0, b""
    while not last.endswith(b"\nend\n"):
        found = quick.read()
        assert found is not None
        total += len(found[1])
        last = (last + found[1])[-5:]
    assert total > 10_000_000
    seen, lost = b"", 0
    quick.write(b"\n")
    while (found := slow.read()) is not None:
        if found[0] == "lost":
            lost += int(found[1])
        else:
            seen += found[1]
    assert lost > 1_000_000
    assert len(seen) < 4 * BACKLOG + (1 << 20)
    assert house.client.wait(id, timeout=60) == 0


def test_the_end_of_input_at_a_terminal(house: House, attach: Attach) -> None:
    id = house.run("cat", terminal=True)
    attached = attach(id)
    attached.write(b"hi\n")
    read_until(attached, b"hi\r\nhi\r\n")
    attached.close_stdin()
    assert house.client.wait(id, timeout=60) == 0
    with pytest.raises(WrongState) as caught:
        house.client.attach(id)
    assert caught.value.hint


def test_an_interrupt_reaches_the_foreground(house: House, attach: Attach) -> None:
    id = house.sh("trap 'echo int; exit 5' INT; echo ready; while :; do sleep 0.02; done",
                  terminal=True)  # fmt: skip
    attached = attach(id)
    read_until(attached, b"ready")
    attached.write(b"\x03")
    assert house.client.wait(id, timeout=60) == 5


# exec


def test_exec_without_a_terminal(house: House, attach: Attach) -> None:
    id = house.run("sleep", "60")
    made = house.client.exec(
        id, ["sh", "-c", "seq 1 3000; pwd; echo $A:$PATH; echo bad >&2; exit 9"],
        env=["A=b"], cwd="/tmp",
    )  # fmt: skip
    assert (made.task_id, made.terminal, made.pid > 0) == (id, False, True)
    seen = read_all(attach(id, made.exec_id))
    lines = seen["stdout"].splitlines()
    assert lines[:3000] == [b"%d" % n for n in range(1, 3001)]
    assert lines[3000] == b"/tmp"
    assert lines[3001].startswith(b"b:/")
    assert seen["stderr"] == b"bad\n"
    assert house.client.wait(id, exec_id=made.exec_id) == 9
    assert house.output(id) == b"", "its output is not the task's"


def test_exec_with_input(house: House, attach: Attach) -> None:
    id = house.run("sleep", "60")
    made = house.client.exec(id, ["cat"], stdin=True, exec_id="cat")
    attached = attach(id, "cat")
    attached.write(b"meow")
    attached.close_stdin()
    assert read_all(attached) == {"stdout": b"meow"}
    assert house.client.wait(id, exec_id=made.exec_id) == 0
    with pytest.raises(AlreadyExists):
        house.client.exec(id, ["true"], exec_id="cat")


def test_exec_with_a_terminal(house: House, attach: Attach) -> None:
    id = house.run("sleep", "60")
    made = house.client.exec(
        id, ["sh", "-c", "stty size; read x; echo got:$x; exit 2"], terminal=True, rows=20,
        columns=70,
    )  # fmt: skip
    attached = attach(id, made.exec_id)
    read_until(attached, b"20 70")
    attached.write(b"word\n")
    assert b"got:word" in read_all(attached)["stdout"]
    assert attached.exit_status == 2


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", "uid=0(root) gid=0(root)"), ("1000", "uid=1000(moby) gid=1001(moby) groups=50"),
        ("moby", "uid=1000(moby) gid=1001(moby) groups=50"), ("7:8", "uid=7 gid=8"),
        ("moby:docks", "uid=1000(moby) gid=50(docks)"), ("4242", "uid=4242 gid=0(root)"),
    ],
)  # fmt: skip
def test_exec_as_somebody_else(house: House, user: str, expected: str) -> None:
    id = house.run("sleep", "60")
    made = house.client.exec(id, ["id"], user=user)
    assert house.client.wait(id, exec_id=made.exec_id, timeout=60) == 0
    (line,) = house.client.logs(id, exec_id=made.exec_id)
    found = line.data.decode()
    for word in expected.split():
        assert word in found


@pytest.mark.parametrize(
    ("user", "groups"),
    [("moby", "50 1001"), ("1000", "50 1001"), ("7:8", "8"), ("moby:docks", "50"), ("4242", "0")],
)
def test_no_setgid_program_leads_out_of_ones_group(house: House, user: str, groups: str) -> None:
    """CVE-2022-36109: who runs a setgid program has another gid, and what the primary group is kept
    out of is open, if that is not among the supplementary ones. Success: it is not."""
    id = house.run("sleep", "60")
    made = house.client.exec(id, ["grep", "^Groups:", "/proc/self/status"], user=user)
    assert house.client.wait(id, exec_id=made.exec_id, timeout=60) == 0
    (line,) = house.client.logs(id, exec_id=made.exec_id)
    assert line.data.decode().split()[1:] == groups.split()


@pytest.mark.parametrize(
    ("user", "kind"),
    [("nobody-here", NotFound), ("0:nothing", NotFound), ("99999999999", UsageError),
     ("4294967295", UsageError), (":", NotFound)],
)  # fmt: skip
def test_exec_as_nobody_known(house: House, user: str, kind: type[MobyshellError]) -> None:
    id = house.run("sleep", "60")
    with pytest.raises(kind):
        house.client.exec(id, ["id"], user=user)


def test_digits_are_a_number_whoever_has_them_for_a_name(house: House) -> None:
    """CVE-2016-3697: an account of the image is named as the number that the caller asks for, and is
    root. Success: so is the program. Lines that are none are passed over."""
    passwd = house.bundle / "rootfs" / "etc" / "passwd"
    passwd.write_text(f"2000:x:0:0::/:\na:x:\u00b2:\u00b2::/:\nb:x:{'9' * 9000}:1::/:\n", "utf-8")
    (house.bundle / "rootfs" / "etc" / "group").write_text("3000:x:0:2000,c\n")
    id = house.run("sleep", "60")
    for user, expected in (("2000", "uid=2000 gid=0"), ("7:3000", "uid=7 gid=3000")):
        made = house.client.exec(id, ["id"], user=user)
        assert house.client.wait(id, exec_id=made.exec_id, timeout=60) == 0
        (line,) = house.client.logs(id, exec_id=made.exec_id)
        assert line.data.decode().startswith(expected)
    with pytest.raises(NotFound):
        house.client.exec(id, ["id"], user="a")


def test_a_hostile_passwd_is_not_followed_out_of_the_root(house: House) -> None:
    passwd = house.bundle / "rootfs" / "etc" / "passwd"
    passwd.unlink()
    passwd.symlink_to("/../../../../../../etc/passwd")
    id = house.run("sleep", "60")
    with pytest.raises(NotFound):
        house.client.exec(id, ["id"], user="daemon")
    passwd.unlink()
    os.mkfifo(passwd)
    with pytest.raises(NotFound):
        house.client.exec(id, ["id"], user="daemon")


def test_exec_may_write_to_dev_stdout_as_any_user(house: House) -> None:
    """Opening it anew needs permission on the FIFO: it is given to the user."""
    id = house.run("sleep", "60")
    made = house.client.exec(id, ["sh", "-c", "echo x > /proc/self/fd/1"], user="1000")
    assert house.client.wait(id, exec_id=made.exec_id, timeout=60) == 0


def test_signals_to_a_process_of_exec_and_its_end_with_the_task(house: House) -> None:
    id = house.run("sleep", "60")
    first = house.client.exec(id, ["sleep", "61"], exec_id="first")
    house.client.exec(id, ["sleep", "62"], exec_id="second")
    house.client.kill(id, signal.SIGTERM, exec_id="first")
    assert house.client.wait(id, exec_id="first", timeout=60) == 143
    with pytest.raises(WrongState):
        house.client.kill(id, signal.SIGTERM, exec_id=first.exec_id)
    with pytest.raises(NotFound):
        house.client.kill(id, signal.SIGTERM, exec_id="third")
    house.client.kill(id, signal.SIGKILL)
    assert house.client.wait(id, exec_id="second", timeout=60) == 137


def test_a_process_left_behind_does_not_hold_up_the_end_of_exec(
    house: House, attach: Attach
) -> None:
    id = house.run("sleep", "60")
    made = house.client.exec(id, ["sh", "-c", "sleep 50 & echo started; exit 1"])
    attached = attach(id, made.exec_id)
    assert read_all(attached) == {"stdout": b"started\n"}
    assert attached.exit_status == 1


def test_of_many_ended_processes_the_last_are_kept(house: House) -> None:
    id = house.run("sleep", "60")
    names = [f"e{number}" for number in range(40)]
    held = []
    for name in names:
        house.client.exec(id, ["true"], exec_id=name)
        house.client.wait(id, exec_id=name, timeout=60)
        held.append(len(os.listdir(f"/proc/{house.pids()[1]}/fd")))
    execs = house.state / "default" / id / "task" / "execs"
    eventually(lambda: len(os.listdir(execs)) <= 33)
    kept = os.listdir(execs)
    assert names[-1] in kept
    assert names[0] not in kept
    # what the first one leaves is the container's; an ended process leaves nothing
    assert max(held[-5:]) <= max(held[:5]) + 2, held


@pytest.mark.parametrize("args", [[], ["/no/such"]])
def test_an_exec_that_fails_leaves_nothing(house: House, args: list[str]) -> None:
    id = house.run("sleep", "60")
    with pytest.raises(MobyshellError):
        house.client.exec(id, args, exec_id="x")
    execs = house.state / "default" / id / "task" / "execs"
    assert not execs.exists() or os.listdir(execs) == []
    house.client.exec(id, ["true"], exec_id="x")


# logs


def test_logs_with_tail_since_and_follow(house: House) -> None:
    id = house.sh("echo one; echo two; sleep 0.3; echo three; printf four")
    eventually(lambda: house.output(id) == b"one\ntwo\n")
    followed = [line.data for line in house.client.logs(id, follow=True)]
    assert followed == [b"one", b"two", b"three", b"four"]
    lines = list(house.client.logs(id))
    assert [line.partial for line in lines] == [False, False, False, True]
    assert [line.data for line in house.client.logs(id, tail=2)] == [b"three", b"four"]
    since = lines[2].time_ns
    assert [line.data for line in house.client.logs(id, since_ns=since)] == [b"three", b"four"]
    assert list(house.client.logs(id, tail=0)) == []
    with pytest.raises(NotFound):
        list(house.client.logs("no-such-task"))


def test_logs_need_no_shim(house: House) -> None:
    id = house.sh("echo here")
    house.client.wait(id, timeout=60)
    house.client.close()
    eventually(lambda: not (house.state / "shim.sock").exists())
    assert [line.data for line in house.client.logs(id, follow=True)] == [b"here"]
    assert not (house.state / "shim.sock").exists()


def test_a_terminal_that_was_gone_before_anybody_looked(house: House, attach: Attach) -> None:
    """`exec -t` of something short: who made it always sees what it said, once."""
    id = house.run("sleep", "600")
    made = house.client.exec(id, ["echo", "short"], terminal=True)
    assert house.client.wait(id, exec_id=made.exec_id, timeout=60) == 0
    assert read_all(attach(id, made.exec_id)) == {"stdout": b"short\r\n"}
    with pytest.raises(WrongState, match="its terminal with it"):
        attach(id, made.exec_id)
    house.client.delete(id, force=True)
