"""The keeper alone, with shims made of a few lines: keeps, inherits, writes down, does not spin.

Both keepers pass the same tests: the one by machine code, and the one in Python.
"""

from __future__ import annotations

import fcntl
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks import keeper_native, keeping
from mobyshell.core.tasks.connect import comes, connect
from mobyshell.core.tasks.strays import children
from tests.core.runtime.native.test_assembler import by_gnu_as
from tests.core.tasks.conftest import kill_now
from tests.undertaker import subreaper
from tests.waiting import eventually

SCRIPT = """
import os, signal, socket, sys, time
sys.path += sys.argv[2:]
from mobyshell.core.tasks import keeping
from mobyshell.core.tasks.holder import Holder
from mobyshell.core.tasks.loop import Loop
directory = sys.argv[1]
def note(text):
    with open(directory + "/notes", "a") as file:
        file.write(text + "\\n")
def turn():
    try:
        return len(open(directory + "/notes").readlines())
    except FileNotFoundError:
        return 0
def settle():
    loop.call_later(0.1, loop.stop)
    loop.run()
def end(status=0):
    sys.stdout.flush()
    os._exit(status)
if times := os.environ.get("DIES"):
    note("born")
    end(0 if turn() > int(times) else 3)
line = socket.socket(fileno=keeping.LINE_FD)
held, watched = keeping.read_ledger(keeping.LEDGER_FD)
loop = Loop(lambda error: note(repr(error)))
holder = Holder(loop, line, dict(held), lambda: note("lost"))
"""

HOLDS = """
if turn() == 0:
    r, w = os.pipe()
    os.write(w, b"kept in the pipe")
    holder.hold("pipe/r", r)
    holder.hold("pipe/w", w)
    holder.hold("gone", r)
    holder.drop("gone")
    holder.hold("gone later", w)
    holder.drop_later("gone later")
    child = os.fork()
    if child == 0:
        while not os.path.exists(directory + "/seen"):
            time.sleep(0.01)
        os._exit(7)
    holder.watch(child, directory)
    other = os.fork()
    if other == 0:
        os._exit(1)
    holder.watch(other, directory + "/other")
    holder.unwatch(other)
    settle()
    settle()
    note("first")
    os.kill(os.getpid(), signal.SIGKILL)
note(" ".join(sorted(held)))
note(" ".join(watched.values()))
note(os.read(holder.take("pipe/r"), 99).decode())
note(repr(holder.take("pipe/r")))
note(" ".join(holder.leftovers()))
open(directory + "/seen", "w").close()
while not os.path.exists(directory + "/exit"):
    time.sleep(0.01)
os.unlink(directory + "/seen")
end()
"""

LAST_WORDS = """
if turn() == 0:
    os.environ["UNTIL"] = "now"
    r, w = os.pipe()
    os.write(w, b"last words")
    holder.hold("default/task//7/stdout", r)
    settle()
note("born")
if turn() < 7:
    end(1)
note(os.read(held["default/task//7/stdout"], 99).decode())
end()
"""

MANY = """
if turn() == 0:
    ends = [os.open("/dev/null", os.O_RDWR) for _ in range(1000)]
    for number, fd in enumerate(ends):
        holder.hold(f"default/task-{number}//1/stdout", fd)
        if number % 3 == 0:
            holder.drop(f"default/task-{number}//1/stdout")
        if number % 50 == 0:
            settle()
    children = []
    for number in range(100):
        place = f"{directory}/{number}"
        os.mkdir(place)
        child = os.fork()
        if child == 0:
            signal.pause()
        holder.watch(child, place)
        children.append(child)
    while holder._waiting:
        settle()
    note(" ".join(map(str, children)))
    os.kill(os.getpid(), signal.SIGKILL)
note(str(len(held)))
note(str(sum(os.readlink(f"/proc/self/fd/{fd}") == "/dev/null" for fd in held.values())))
note(str(len(watched)))
# a keeper whose shim has left leaves, too
while not all(os.path.exists(f"{directory}/{number}/exit") for number in range(100)):
    time.sleep(0.01)
end()
"""

WORDS = """
if turn() == 0:
    def say(data, *fds):
        socket.send_fds(line, [data], fds)
    null = os.open("/dev/null", os.O_RDWR)
    for data in (b"\\0", b"\\0\\0", b"\\0\\0\\0\\0", b"hold", b"hold\\0", b"drop", b"watch", b"watch\\0x\\0y",
                 b"watch\\0" + b"7" * 5, b"unwatch", b"unwatch\\0x", b"unwatch\\0" + b"9" * 9000,
                 b"hold\\0a\\0b\\0c", b"fnord\\0x", b"hold\\0none\\0\\0drop\\0none", b"\\xff" * 16384,
                 b"watch\\0" + b"1" * 9 + b"\\0" + b"d" * 9000, b"x" * 20000):
        say(data)
        time.sleep(0.01)
    say(b"fnord", null, null, null)
    say(b"hold\\0one", null, null)
    say(b"hold\\0two\\0\\0hold\\0three\\0\\0drop\\0two", null, null)
    say(b"unwatch\\0" + b"1" * 9)
    settle()
    settle()
    keeper = f"/proc/{os.getppid()}/fd/"
    note(str(sum(os.readlink(keeper + fd) == "/dev/null" for fd in os.listdir(keeper) if int(fd) > 6)))
    os.kill(os.getpid(), signal.SIGKILL)
note(" ".join(sorted(held)))
note(" ".join(sorted(watched.values())))
end()
"""

KILLED = """
if turn() == 0:
    r, w = os.pipe()
    os.write(w, b"x" * 30)
    holder.hold("pipe/r", r)
    holder.hold("pipe/w", w)
    settle()
else:
    assert os.read(held["pipe/r"], 1) == b"x"
note(str(os.getpid()))
if turn() < 7:
    loop.run()
end()
"""

NO_SPACE = """
if turn() == 0:
    children = []
    for place in (directory + "/full", directory + "/" + "d" * 5000, directory):
        child = os.fork()
        if child == 0:
            time.sleep(0.5)
            os._exit(5)
        holder.watch(child, place)
    settle()
    note("killed")
    os.kill(os.getpid(), signal.SIGKILL)
if turn() == 1:
    time.sleep(1)
    note("again")
    os.kill(os.getpid(), signal.SIGKILL)
note(str(len(watched)))
end()
"""

HANGS_UP = """
if turn() == 0:
    note("hangs up")
    r, w = os.pipe()
    holder.hold("pipe/r", r)
    line.shutdown(socket.SHUT_WR)
    line.close()
    time.sleep(0.3)
    end(9)
note(" ".join(held))
end()
"""


class Kept:
    """A keeper, from its start to its end. `kind`: native or portable."""

    def __init__(self, kind: str, script: str, directory: Path, **environment: str) -> None:
        self.directory, self.kind = directory, kind
        (directory / "shim.py").write_text(SCRIPT + script)
        package = str(Path(__file__).parents[3])
        command = [sys.executable, "-I", "-S", str(directory / "shim.py"), str(directory), package]
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        diary = os.open(directory / "diary", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._ready, told = os.pipe()
        arguments = [str(directory / "lock"), "0", *command]
        try:
            keeping.start(arguments, diary, lock, told, environment, kind=kind)
        finally:
            for fd in (lock, diary, told):
                os.close(fd)
        self.keeper = eventually(lambda: sum(pid for pid in children() if self._is_keeper(pid)), 60)

    def _is_keeper(self, pid: int) -> bool:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")  # of a zombie: none
        return str(self.directory / "lock").encode() in words

    def ended(self) -> int:
        """Wait for its end; its status. The pipe ends with it."""
        assert comes(self._ready, 60)
        assert os.read(self._ready, 1) == b""
        os.close(self._ready)
        return os.waitstatus_to_exitcode(os.waitpid(self.keeper, 0)[1])

    def notes(self) -> list[str]:
        path = self.directory / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def noted(self, turn: int) -> int:
        """The number that is the note of this turn, once it is there."""
        eventually(lambda: len(self.notes()) >= turn, 60)
        return int(self.notes()[turn - 1])


def run(kind: str, script: str, directory: Path, **environment: str) -> tuple[int, list[str]]:
    with subreaper():
        kept = Kept(kind, script, directory, **environment)
        status = kept.ended()
    assert (directory / "diary").read_text() == ""
    assert not (directory / "lock").exists()
    return status, kept.notes()


@pytest.fixture(params=["native", "portable"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_successor_inherits_what_was_held_and_the_keeper_buries_the_children(
    tmp_path: Path, kind: str
) -> None:
    status, notes = run(kind, HOLDS, tmp_path)
    assert status == 0
    assert notes == ["first", "pipe/r pipe/w", str(tmp_path), "kept in the pipe", "-1", "pipe/w"]
    code, time_ns = (tmp_path / "exit").read_text().split()
    assert code == "7"
    assert abs(int(time_ns) - time.time_ns()) < 60 * 10**9
    assert sorted(os.listdir(tmp_path)) == ["diary", "exit", "notes", "shim.py"]


def test_a_shim_that_dies_at_its_start_is_not_started_in_a_frenzy(
    tmp_path: Path, kind: str
) -> None:
    begun = time.monotonic()
    status, notes = run(kind, "", tmp_path, DIES="4")
    assert status == 0
    assert len(notes) == 5
    assert time.monotonic() - begun > 0.05 + 0.1 + 0.2 + 0.4


def test_it_ends_when_no_shim_comes_up_and_no_task_needs_one(tmp_path: Path, kind: str) -> None:
    """As on a full disk: a process that tries for ever would be all that is left of a failed run."""
    status, notes = run(kind, "", tmp_path, DIES="1000")
    assert status == 3
    assert 3 <= len(notes) <= 12


def test_it_ends_when_there_is_nothing_to_execute(tmp_path: Path, kind: str) -> None:
    with subreaper():
        kept = Kept(kind, "", tmp_path)
        os.rename(tmp_path / "shim.py", tmp_path / "away")
        assert kept.ended() != 0


def test_it_stays_while_it_holds_what_a_task_has_said(tmp_path: Path, kind: str) -> None:
    """A task that has ended, and was buried, while one shim after the other was killed."""
    status, notes = run(kind, LAST_WORDS, tmp_path)
    assert status == 0
    assert notes[-1] == "last words"


def test_a_thousand_descriptors_and_a_hundred_children_that_end_at_once(
    tmp_path: Path, kind: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with subreaper():
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        try:
            kept = Kept(kind, MANY, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        eventually(lambda: len(kept.notes()) == 1, 60)
        children = [int(word) for word in kept.notes()[0].split()]
        for child in children:
            os.kill(child, signal.SIGTERM)
        eventually(lambda: all((tmp_path / str(one) / "exit").exists() for one in range(100)), 60)
        assert kept.ended() == 0
    assert {(tmp_path / str(one) / "exit").read_text().split()[0] for one in range(100)} == {"143"}
    assert kept.notes()[1:3] == ["666", "666"]


def test_words_that_mean_nothing_are_passed_over(tmp_path: Path, kind: str) -> None:
    status, notes = run(kind, WORDS, tmp_path)
    assert status == 0
    assert notes[0] == "2"
    assert notes[1] == "one three"


def test_shims_that_are_killed_time_and_again(tmp_path: Path, kind: str) -> None:
    """Each in the midst of its work, or of its start."""
    with subreaper():
        kept = Kept(kind, KILLED, tmp_path)
        for turn in range(1, 7):
            kill_now(kept.noted(turn))
        assert kept.ended() == 0
    assert len(kept.notes()) == 7


def test_an_end_that_cannot_be_written_down_is_no_ones_end(tmp_path: Path, kind: str) -> None:
    """A full disk, and a directory that is gone, or has a name too long."""
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=4", "none", full], check=True)
    try:
        (full / "block").write_bytes(bytes(4096))
        status, notes = run(kind, NO_SPACE, tmp_path)
        assert sorted(os.listdir(full)) == ["block"]
    finally:
        subprocess.run(["umount", full], check=True)
    assert (status, notes) == (0, ["killed", "again", "0"])
    assert (tmp_path / "exit").read_text().split()[0] == "5"


def test_who_hangs_up_and_goes_on_is_waited_for(tmp_path: Path, kind: str) -> None:
    status, notes = run(kind, HANGS_UP, tmp_path)
    assert (status, notes) == (0, ["hangs up", "pipe/r"])


def test_signals_that_are_no_harm(tmp_path: Path, kind: str) -> None:
    with subreaper():
        kept = Kept(kind, "note(str(os.getpid())); loop.run()", tmp_path)
        shim, keeper = kept.noted(1), kept.keeper
        for one in (signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGXFSZ, signal.SIGCHLD):
            os.kill(keeper, one)
        status = Path(f"/proc/{keeper}/status").read_text()
        ignored = int(status.split("SigIgn:\t")[1].split()[0], 16)
        assert ignored & ~0x180000000 == 0, "but for glibc's own"
        assert f"PPid:\t{keeper}\n" in Path(f"/proc/{shim}/status").read_text()
        assert "SigBlk:\t0000000000000000" in Path(f"/proc/{shim}/status").read_text()
        os.kill(keeper, signal.SIGKILL)
        os.kill(shim, signal.SIGKILL)
        assert kept.ended() == -signal.SIGKILL
        assert os.waitpid(shim, 0)[0] == shim


def test_no_descriptor_to_be_had_is_a_shim_that_died(tmp_path: Path, kind: str) -> None:
    """It tries again, and keeps what it has."""
    with subreaper():
        kept = Kept(kind, KILLED.replace("7", "3"), tmp_path)
        shim, keeper = kept.noted(1), kept.keeper
        before = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
        resource.prlimit(keeper, resource.RLIMIT_NOFILE, (8, before[1]))
        kill_now(shim)
        time.sleep(0.5)
        assert len(kept.notes()) == 1
        resource.prlimit(keeper, resource.RLIMIT_NOFILE, before)
        kill_now(kept.noted(2))
        assert kept.ended() == 0


def test_the_code_is_what_its_source_says() -> None:
    assert keeper_native.TARGET.read_text() == keeper_native.generated(), "run `make native`"


@pytest.mark.peer
def test_the_code_is_what_gnu_as_makes_of_it(tmp_path: Path) -> None:
    from mobyshell.core.tasks.keeper_code import CODE

    assert by_gnu_as(keeper_native.source(), tmp_path) == CODE


def test_it_says_truly_where_it_is() -> None:
    told = re.findall(r'File \\"(.*)\\", line (\d+) in (\w+)', keeper_native.source())
    assert len(told) == 2
    for name, line, label in told:
        text = keeper_native.TARGET.with_name(name).read_text().splitlines()
        assert text[int(line) - 1].startswith(f"{label}:")


def test_a_ledger_is_read_as_it_was_written() -> None:
    held = {"a": 20, "default/ä/": 1 << 20, "x" * 4000: 7}
    watched = {1: "/", 4194304: "/run/mobyshell/default/x/task"}
    assert keeping.read_ledger(keeping.write_ledger(held, watched)) == (held, watched)
    assert keeping.read_ledger(keeping.write_ledger({}, {})) == ({}, {})


def test_the_diary_says_why_no_shim_comes_up(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "staging").mkdir()  # where a file has to be
    with pytest.raises(MobyshellError) as caught:
        connect(str(tmp_path / "state"))
    assert "Is a directory" in caught.value.message
    assert "shim.log says why" in caught.value.hint
    assert "Is a directory" in (tmp_path / "state" / "shim.log").read_text()


LOADED = """
import sys
before = set(sys.modules)
import mobyshell.core.tasks.keeper
print(*sorted(set(sys.modules) - before))
"""


def test_it_loads_little() -> None:
    """It is there as long as the shim, and its pages are nobody else's."""
    package = str(Path(__file__).parents[3])
    words = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({package!r})" + LOADED]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(found.stdout.split())
    assert "ctypes" in loaded
    heavy = {"enum", "typing", "dataclasses", "re", "socket", "signal", "contextlib", "pathlib"}
    assert not heavy & loaded
    assert {one for one in loaded if one.startswith("mobyshell.core.linux")} == set()


SHIM = """
import sys
from mobyshell.core.lazily import RARE, lazily, without_forms
lazily(*RARE)
without_forms()
import mobyshell.core.tasks.shim, mobyshell.core.runtime.runtime, mobyshell.core.oci.rules
print(*sorted(name for name, one in sys.modules.items() if "__getattr__" not in dir(type(one))))
"""


def test_a_shim_loads_nothing_large_that_it_hardly_needs() -> None:
    package = str(Path(__file__).parents[3])
    words = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({package!r})" + SHIM]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(found.stdout.split())
    assert "mobyshell.core.runtime.runtime" in loaded
    large = {"typing", "dataclasses", "shutil", "math", "zlib", "weakref", "selectors"}
    large |= {"inspect", "ast", "dis", "tokenize", "ipaddress", "hashlib", "_hashlib", "traceback",
             "bz2", "lzma", "sqlite3", "ssl", "asyncio", "logging", "threading", "subprocess"}  # fmt: skip
    assert not large & loaded


WAITING = """
import sys
from mobyshell.core.tasks.connect import comes
print("waits", flush=True)
print(comes(0, 3.0), flush=True)
"""


def test_who_is_stopped_has_not_waited() -> None:
    """A machine that stood still for longer than anybody waits has kept nobody waiting."""
    words = [sys.executable, "-c", WAITING]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdin is not None
        assert one.stdout is not None
        assert one.stdout.readline() == "waits\n"
        one.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        one.send_signal(signal.SIGCONT)
        one.stdin.write("ready\n")
        one.stdin.close()
        assert one.stdout.readline() == "True\n"
