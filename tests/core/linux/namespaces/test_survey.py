"""What is seen of namespaces, beside lsns(8), and what keeps those that lsns does not know."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound
from mobyshell.core.linux.namespaces import KINDS, inode, nsfs
from mobyshell.core.linux.namespaces.survey import survey
from mobyshell.core.linux.namespaces.values import By, Door, Hold
from tests.core.linux.namespaces.inhabitants import inhabitant
from tests.users import package_for_all, python_for

pytestmark = pytest.mark.root

ALL = ("--user", "--map-root-user", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid",
       "--time", "--fork", "--mount-proc")  # fmt: skip
PATIENCE = 60.0


def lsns() -> dict[int, dict[str, str]]:
    """What util-linux says, by inode. It gives up where a process ends under its eyes."""
    columns = ("NS", "TYPE", "NPROCS", "PID", "PNS", "ONS")
    deadline = time.monotonic() + PATIENCE
    while True:
        done = subprocess.run(["lsns", "-n", "-r", "-o", ",".join(columns)], capture_output=True,
                              text=True, check=False, timeout=60)  # fmt: skip
        if done.returncode == 0:
            break
        assert time.monotonic() < deadline, done.stderr
    rows = (dict(zip(columns, line.split(), strict=True)) for line in done.stdout.splitlines())
    return {int(row["NS"]): row for row in rows}


def test_ours() -> None:
    found = survey()
    ours = found.of(os.getpid())
    assert set(ours) == set(KINDS)
    assert ours["net"].inode == inode(os.getpid(), "net")
    assert ours["user"].owner_uid == 0
    who = found.processes[os.getpid()]
    assert (who.ppid, who.uid) == (os.getppid(), os.getuid())
    assert who.cgroup.startswith("/")
    assert who.command.startswith(Path(sys.executable).name) or sys.executable in who.command


def test_one_of_each_kind_as_lsns_sees_them() -> None:
    with inhabitant(*ALL) as pid:
        mine = survey().of(pid)
        assert set(mine) == set(KINDS)
        theirs = lsns()
        for kind, one in mine.items():
            row = theirs[one.inode]
            assert (row["TYPE"], row["NPROCS"]) == (kind, str(len(one.members)))
            assert row["PID"] == str(one.members[0])
            assert row["ONS"] == str(one.owner)
            assert row["PNS"] == str(one.parent)


def test_everything_that_lsns_sees() -> None:
    """The machine is not ours alone: what lives through both looks is in what is between them."""
    deadline = time.monotonic() + PATIENCE
    with inhabitant("--net"):
        while True:
            before, theirs, after = survey(), lsns(), survey()
            seen = {one.inode for one in (*before.namespaces, *after.namespaces)}
            lasting = {one.inode for one in before.namespaces if one.members} & {
                one.inode for one in after.namespaces if one.members
            }
            if lasting <= set(theirs) <= seen:
                break
            assert time.monotonic() < deadline, (lasting - set(theirs), set(theirs) - seen)


def test_who_contains_and_owns_which() -> None:
    with inhabitant("--user", "--map-root-user", script=(
        "exec unshare --user --map-root-user --net --pid --fork sh -c 'echo ready; exec sleep 1000'"
    )) as pid:  # fmt: skip
        found = survey()
        theirs = found.of(pid)
        inner = theirs["user"]
        assert theirs["net"].owner == theirs["pid"].owner == inner.inode
        outer = found.find(inner.parent)
        ours = found.of(os.getpid())
        # a user namespace without a process: only the other tells that it is there
        assert outer is not None
        assert (outer.members, outer.parent) == ((), ours["user"].inode)
        assert [hold.by for hold in outer.holds] == [By.RELATIVE]
        assert theirs["pid"].parent == ours["pid"].inode
        assert theirs["net"].parent == 0
        assert outer.door is not None
        with nsfs.opened(outer.door, "user", outer.inode) as fd:
            assert os.fstat(fd).st_ino == outer.inode


def test_one_that_a_mount_keeps() -> None:
    name = f"moby{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=60)
    try:
        place = f"/run/netns/{name}"
        one = survey().find(os.stat(place).st_ino)
        assert one is not None
        assert (one.kind, one.members) == ("net", ())
        assert [(hold.by, hold.name) for hold in one.holds] == [(By.MOUNT, place)]
        assert one.door is not None
        with nsfs.opened(one.door, "net", one.inode):
            pass
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=60)
    with pytest.raises(NotFound), nsfs.opened(one.door, "net", one.inode):
        pass


def test_one_that_a_descriptor_keeps() -> None:
    with inhabitant("--uts") as pid:
        fd = os.open(f"/proc/{pid}/ns/uts", os.O_RDONLY)
    try:
        one = survey().find(os.fstat(fd).st_ino)
        assert one is not None
        assert (one.kind, one.members) == ("uts", ())
        assert [str(hold) for hold in one.holds] == [f"descriptor {fd} of {os.getpid()}"]
    finally:
        os.close(fd)
    again = survey().find(one.inode)
    # the number may be another one's by now
    assert again is None or not any(hold.pid == os.getpid() for hold in again.holds)


THREAD = """
import ctypes, threading, time
libc = ctypes.CDLL(None)
def apart():
    assert libc.unshare(0x04000000 | 0x40000000) == 0  # CLONE_NEWUTS, CLONE_NEWNET
    print("ready", flush=True)
    time.sleep(1000)
threading.Thread(target=apart, daemon=True).start()
time.sleep(1000)
"""


def test_one_that_only_a_thread_is_in() -> None:
    process = subprocess.Popen([sys.executable, "-I", "-c", THREAD], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        found = [one for one in survey().namespaces
                 if any(hold.by == By.THREAD and hold.pid == process.pid for hold in one.holds)]  # fmt: skip
        assert sorted(one.kind for one in found) == ["net", "uts"]
        assert all(one.members == () and one.door is not None for one in found)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_where_only_children_are() -> None:
    with inhabitant("--pid", script="sleep 1000 & echo ready; wait") as sleeper:
        found = survey()
        one = found.of(sleeper)["pid"]
        assert one.members == (sleeper,)
        assert found.processes[sleeper].inner == 1
        assert one.holds == (Hold(By.CHILDREN, found.processes[sleeper].ppid, "pid_for_children"),)


def test_another_one_behind_the_door_is_noticed() -> None:
    ours = inode(os.getpid(), "net")
    door = Door(f"/proc/{os.getpid()}/ns/net")
    with nsfs.opened(door, "net", ours) as fd:
        assert nsfs.kind_of(fd) == "net"
    with pytest.raises(NotFound), nsfs.opened(door, "net", ours + 1):
        pass
    with pytest.raises(NotFound), nsfs.opened(door, "uts", ours):
        pass
    with pytest.raises(NotFound), nsfs.opened(Door("/proc/4194303/ns/net"), "net", ours):
        pass


def test_a_mount_point_that_is_something_else_by_now_is_not_opened(tmp_path: Path) -> None:
    """It is in a stranger's tree: a FIFO there must not make us wait, nor a link lead elsewhere."""
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to("/proc/self/ns/net")
    for place in (fifo, link, tmp_path):
        with pytest.raises(NotFound), nsfs.opened(Door(str(place), root=os.getpid()), "net", 1):
            pass


def test_a_descriptor_that_is_something_else_by_now_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fd = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(NotFound), nsfs.opened(Door(f"/proc/self/fd/{fd}"), "net", 1):
            pass
    finally:
        os.close(fd)


def test_looking_while_processes_come_and_go() -> None:
    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            subprocess.run(["unshare", "--uts", "--pid", "--fork", "true"], check=True, timeout=60)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            found = survey()
            assert set(found.of(os.getpid())) == set(KINDS)
    finally:
        ended.set()
        thread.join()


def test_who_may_not_look_says_so() -> None:
    program = (
        "import os, sys; sys.path[:0] = [sys.argv[1]];"
        "from mobyshell.core.linux.namespaces.survey import survey; s = survey();"
        "print(len(s.unreadable) > 0, sorted(s.of(os.getpid())))"
    )
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", python_for(65534), "-I",
         "-c", program, package_for_all()], capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip
    assert done.stdout.split(" ", 1) == ["True", f"{sorted(KINDS)}\n"], done.stderr
