"""Ushers: an exec by one is what it is without, and nobody in or after the container notices."""

from __future__ import annotations

import gc
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError, WrongState
from mobyshell.core.events import CallDone, Payload
from mobyshell.core.linux import procfs
from mobyshell.core.oci import Process, User
from mobyshell.core.runtime import ExecProcess, Runtime, Stdio
from mobyshell.core.runtime.executor import FAILED
from mobyshell.core.runtime.native.executor import NativeExecutor
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.ushers import Known, Ushers
from tests.core.runtime.conftest import House, descriptors, freeze

pytestmark = pytest.mark.root

SEES = """
set -e
own='Pid|Ngid|PPid|NS|Tgid|Vm|Rss|voluntary|nonvoluntary|SigQ|HugetlbPages'
grep -vE "^($own)" /proc/self/status
for one in exe cwd root fd/0 ns/mnt ns/net ns/pid ns/uts ns/ipc ns/cgroup ns/user
do readlink /proc/self/$one; done
cat /proc/self/cgroup /proc/self/limits /proc/self/oom_score_adj
ls /proc/self/fd
env
umask
"""


def children() -> set[int]:
    """The children of this process."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def ushers() -> list[int]:
    """The ushers that this process has, dead ones as well."""
    comms = {pid: Path(f"/proc/{pid}/comm").read_text() for pid in children()}
    return [pid for pid, comm in comms.items() if comm == "mobyshell:usher\n"]


@pytest.fixture
def plain(house: House) -> House:
    """A house whose runtime keeps nothing."""
    house.runtime._executor = NativeExecutor()
    return house


@pytest.fixture
def kept(house: House) -> Iterator[House]:
    """A house of the same root, with ushers."""
    events: list[Payload] = []
    runtime = Runtime(
        house.runtime.root, sink=lambda _, payload: events.append(payload),
        executor=NativeExecutor(), ushers=True,
    )  # fmt: skip
    gc.collect()  # what other tests have dropped is not to go meanwhile
    before = descriptors()
    yield House(runtime, house.bundle, house.directory, events)
    runtime.rest(0)
    runtime.rest_ahead(0)
    assert ushers() == []
    assert descriptors() == before


def calls(house: House) -> list[str]:
    """The names of the calls since it was asked last."""
    found = [one.name for one in house.events if isinstance(one, CallDone)]
    house.events.clear()
    return found


def begin(house: House, id: str = "c") -> None:
    """A container that idles."""
    os.close(house.create(id, house.spec(None, "sleep", "1000")).pidfd)
    run(house.runtime.start(id))


def test_what_a_process_sees_is_the_same(plain: House, kept: House) -> None:
    begin(kept)
    calls(kept)
    long = plain.exec("c", "sh", "-c", SEES)
    first = kept.exec("c", "sh", "-c", SEES)
    assert "setns" in calls(kept)
    again = kept.exec("c", "sh", "-c", SEES)
    assert "setns" not in calls(kept)  # it was made by who is there already
    for one in (long, first, again):
        assert (one.status, one.errors) == (0, "")
        assert "CapBnd" in one.output
    assert first.output == long.output
    assert again.output == long.output


def test_one_usher_serves_different_programs(kept: House) -> None:
    begin(kept)
    assert kept.exec("c", "sh", "-c", "exit 3").status == 3
    (pid,) = ushers()
    assert kept.exec("c", "echo", "two").output == "two\n"
    assert kept.exec("c", "id", "-u", user=User(uid=7, gid=8)).output == "7\n"
    for _ in range(2):  # by the program that it has, and by one that it has to map again
        assert kept.exec("c", "pwd", cwd="/proc").output == "/proc\n"
        assert kept.exec("c", "pwd", cwd="/proc").output == "/proc\n"
        assert kept.exec("c", "echo", "two").output == "two\n"
    assert ushers() == [pid]


def test_nobody_inside_sees_it(kept: House) -> None:
    begin(kept)
    kept.exec("c", "true")
    (pid,) = ushers()
    first, own = kept.exec("c", "sh", "-c", "echo /proc/[0-9]*; true").output.split()
    assert first == "/proc/1"
    assert kept.exec("c", "sh", "-c", "echo /proc/[0-9]*; true").output.split()[1:] != [own]
    assert [one.pid for one in kept.runtime.ps("c")] == [kept.runtime.state("c")[0].pid]
    assert "mobyshell" not in Path(f"/proc/{pid}/cgroup").read_text()
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:mobyshell")
    # it has nothing open of the host but what makes children: no directory, no file to write
    opened = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    other = [
        one
        for one in opened
        if not re.match(r"socket:|anon_inode:\[pidfd|pidfd:|/sys/fs/cgroup/", one)
    ]
    assert other == []
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "python" not in maps


def test_its_processes_have_the_session_keyring_that_it_has_joined(kept: House) -> None:
    begin(kept)
    kept.exec("c", "true")
    kept.events.clear()
    assert kept.exec("c", "true").status == 0
    asked = [one for one in kept.events if isinstance(one, CallDone) and one.name == "keyctl"]
    (one,) = asked  # whether it is still there; it is, so none is joined anew
    assert (one.args[0], one.errno) == ("KEYCTL_GET_KEYRING_ID", "")


def test_errors_are_those_of_the_long_way(plain: House, kept: House) -> None:
    begin(kept)
    kept.exec("c", "true")
    for args, changes in ((("nowhere",), {}), (("/etc",), {}), (("true",), {"cwd": "/nowhere"})):
        with pytest.raises(MobyshellError) as long:
            plain.exec("c", *args, **changes)
        with pytest.raises(MobyshellError) as quick:
            kept.exec("c", *args, **changes)
        assert quick.value.to_wire() == long.value.to_wire()
    assert kept.exec("c", "true").status == 0
    assert len(ushers()) == 1


def test_a_home_that_moves_is_found(kept: House) -> None:
    def change(document: dict[str, object]) -> None:
        mounts = document["mounts"]
        assert isinstance(mounts, list)
        mounts.append({"destination": "/etc", "type": "tmpfs", "source": "tmpfs"})

    os.close(kept.create("c", kept.spec(change, "sleep", "1000")).pidfd)
    run(kept.runtime.start("c"))
    script = "echo $HOME; echo root:x:0:0::{}:/bin/sh > /etc/new; mv /etc/new /etc/passwd"
    said = [
        kept.exec("c", "sh", "-c", script.format(home), env=("PATH=/bin",)).output.strip()
        for home in ("/a", "/b", "/c", "/d")
    ]
    assert said == ["/", "/a", "/b", "/c"]
    assert len(ushers()) == 1


def test_a_paused_container_takes_none(kept: House) -> None:
    begin(kept)
    kept.exec("c", "true")
    run(kept.runtime.pause("c"))
    with pytest.raises(WrongState, match="paused"):
        kept.exec("c", "true")
    run(kept.runtime.resume("c"))
    (pid,) = ushers()
    assert kept.exec("c", "true").status == 0
    assert ushers() == [pid]


def test_one_that_others_freeze_meanwhile_takes_none(
    kept: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(kept)
    kept.exec("c", "true")
    look = Ushers.of

    def and_then(self: Ushers, id: str) -> Known | None:
        found = look(self, id)
        freeze(kept, id)
        return found

    monkeypatch.setattr(Ushers, "of", and_then)
    with pytest.raises(WrongState, match="paused"):
        kept.exec("c", "true")
    monkeypatch.undo()
    run(kept.runtime.resume("c"))
    assert kept.exec("c", "true").status == 0


def test_a_container_that_ended_takes_none(kept: House) -> None:
    begin(kept)
    kept.exec("c", "true")
    run(kept.runtime.kill("c", signal.SIGKILL))
    run(kept.runtime.wait("c", timeout=60))
    with pytest.raises(WrongState, match="stopped"):
        kept.exec("c", "true")
    assert ushers() == []


def test_an_id_that_is_taken_anew_is_another_container(kept: House, plain: House) -> None:
    begin(kept)
    kept.exec("c", "true")
    run(plain.runtime.delete("c", force=True))  # by somebody else, who knows of no usher
    begin(plain)
    said = kept.exec("c", "sh", "-c", "readlink /proc/1/ns/net; readlink /proc/self/ns/net").output
    assert len(set(said.split())) == 1
    pid = plain.runtime.state("c")[0].pid
    assert [procfs.stat(one).ppid for one in ushers()] == [os.getpid()]
    assert os.readlink(f"/proc/{ushers()[0]}/ns/net") == os.readlink(f"/proc/{pid}/ns/net")


def test_one_that_was_killed_is_replaced(kept: House) -> None:
    begin(kept)
    kept.exec("c", "true")
    (pid,) = ushers()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert kept.exec("c", "echo", "on").output == "on\n"
    assert kept.exec("c", "echo", "on").output == "on\n"
    assert ushers()
    assert pid not in ushers()


def test_two_at_once(kept: House) -> None:
    begin(kept)
    kept.exec("c", "true")
    process = Process(user=User(uid=0, gid=0), cwd="/", args=("true",), env=("PATH=/bin",))
    with open("/dev/null") as null:
        stdio = Stdio(null.fileno(), null.fileno(), null.fileno())
        both = [kept.runtime.exec("c", process, stdio=stdio) for _ in range(2)]
        for one in both:
            next(one)  # ordered, and not yet heard of
        made = [run(one) for one in both]
    assert len({child.pid for child in made}) == 2
    for child in made:
        done = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
        os.close(child.pidfd)
        assert done is not None
        assert done.si_status == 0


def test_who_is_not_told_dies(kept: House) -> None:
    """Nothing is executed of which nobody hears: the pipe is closed, as by the end of the shim."""
    begin(kept)
    kept.exec("c", "true")
    process = Process(user=User(uid=0, gid=0), cwd="/", args=("sleep", "1000"), env=("PATH=/bin",))
    (pid,) = ushers()
    os.kill(pid, signal.SIGSTOP)
    with open("/dev/null") as null:
        steps = kept.runtime.exec(
            "c", process, stdio=Stdio(null.fileno(), null.fileno(), null.fileno())
        )
        next(steps)
        steps.close()
    before = children()
    os.kill(pid, signal.SIGCONT)
    until = time.monotonic() + 60
    while not (made := children() - before) and time.monotonic() < until:
        time.sleep(0.005)
    done = os.waitid(os.P_PID, made.pop(), os.WEXITED)
    assert done is not None
    assert done.si_status == FAILED
    assert len(kept.runtime.ps("c")) == 1


def test_delete_and_rest_dismiss(kept: House) -> None:
    begin(kept)
    begin(kept, "d")
    for id in ("c", "d"):
        kept.exec(id, "true")
    assert len(ushers()) == 2
    assert kept.runtime.rest(1000)
    run(kept.runtime.delete("c", force=True))
    assert len(ushers()) == 1
    assert not kept.runtime.rest(0)
    assert ushers() == []
    assert kept.exec("d", "true").status == 0


def repeated(house: House, first: ExecProcess, args: tuple[str, ...], *, how: str) -> str:
    """What `args` put out when they are ordered as they were before; `how`: what is said if that cannot
    be."""
    assert first.again is not None
    read, write = os.pipe()
    with open("/dev/null") as null, os.fdopen(read) as output:
        stdio = Stdio(null.fileno(), write, write)
        ordered = house.runtime.order(first.again, stdio)
        if ordered is None:
            os.close(write)
            return how
        made = run(house.runtime.exec("c", process_of(args), stdio=stdio, ordered=ordered))
        os.close(write)
        os.waitid(os.P_PIDFD, made.pidfd, os.WEXITED)
        os.close(made.pidfd)
        return output.read().strip()


def process_of(args: tuple[str, ...]) -> Process:
    return Process(user=User(uid=0, gid=0), cwd="/", args=args, env=("PATH=/bin",))


def executed(house: House, args: tuple[str, ...]) -> ExecProcess:
    """`args` were executed, with streams that are pipes; how they can be again."""
    made: ExecProcess | None = None
    for _ in range(2):  # the first one posts the usher
        read, write = os.pipe()
        with open("/dev/null") as null:
            stdio = Stdio(null.fileno(), write, write)
            made = run(house.runtime.exec("c", process_of(args), stdio=stdio))
            os.waitid(os.P_PIDFD, made.pidfd, os.WEXITED)
        for fd in (made.pidfd, read, write):
            os.close(fd)
    assert made is not None
    return made


def test_what_was_made_ready_finds_a_home_that_has_moved_since(kept: House) -> None:
    passwd = Path(kept.bundle) / "rootfs/etc/passwd"
    passwd.write_text("root:x:0:0::/before:/bin/sh\n")
    begin(kept)
    args = ("sh", "-c", "echo $HOME")
    first = executed(kept, args)
    assert first.again is not None
    for home in ("/a", "/much/longer", "/c"):
        kept.runtime.make_ready(first.again)
        new = passwd.with_name("new")
        new.write_text(f"root:x:0:0::{home}:/bin/sh\n")
        new.rename(passwd)
        assert repeated(kept, first, args, how="not ordered") == home
        assert repeated(kept, first, args, how="not ordered") == home  # not made ready before


def test_what_is_ordered_in_another_container_is_taken_back(kept: House) -> None:
    begin(kept)
    args = ("sh", "-c", "echo on > /dev/shm/on; echo on")
    first = executed(kept, ("true",))
    again = executed(kept, args)
    assert first.again is not None
    before = len(children())
    for file in ("config.json", "state.json"):
        assert repeated(kept, again, args, how="not ordered") == "on"
        assert kept.exec("c", "rm", "/dev/shm/on").status == 0
        path = kept.runtime.root / "c" / file
        new = path.with_name("new")
        new.write_bytes(path.read_bytes())
        new.rename(path)
        assert repeated(kept, again, args, how="not ordered") == "not ordered"
        assert ushers() == []
        assert len(children()) == before - 1  # nor is there a process that nobody awaits
        again = executed(kept, args)
        assert kept.exec("c", "rm", "/dev/shm/on").status == 0
    run(kept.runtime.pause("c"))
    assert repeated(kept, again, args, how="not ordered") == "not ordered"
    run(kept.runtime.resume("c"))
    assert repeated(kept, again, args, how="not ordered") == "on"
