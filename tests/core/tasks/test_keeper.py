"""The keeper alone, with shims made of a few lines: keeps, inherits, writes down, does not spin."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks.connect import connect

SCRIPT = """
import os, signal, socket, sys, time
from mobyshell.core.tasks.keeper import Keeper, become_subreaper
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
def settle(loop):
    loop.call_later(0.1, loop.stop)
    loop.run()
become_subreaper()
"""

HOLDS = """
def shim(line, held):
    loop = Loop(lambda error: note(repr(error)))
    holder = Holder(loop, line, dict(held), lambda: note("lost"))
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
            time.sleep(0.3)
            os._exit(7)
        holder.watch(child, directory)
        other = os.fork()
        if other == 0:
            os._exit(1)
        holder.watch(other, directory + "/other")
        holder.unwatch(other)
        settle(loop)
        settle(loop)
        note("first")
        os.kill(os.getpid(), signal.SIGKILL)
    note(" ".join(sorted(held)))
    note(os.read(holder.take("pipe/r"), 99).decode())
    note(repr(holder.take("pipe/r")))
    note(" ".join(holder.leftovers()))
    time.sleep(0.6)
    return 0
print(Keeper(shim).run())
"""

DIES = """
until = time.monotonic() + 1.2
def shim(line, held):
    note("born")
    return 0 if time.monotonic() > until else 1
print(Keeper(shim).run())
"""


NEVER = """
def shim(line, held):
    note("born")
    raise SystemExit(3)
print(Keeper(shim).run())
"""


LAST_WORDS = """
until = time.monotonic() + 2.5
def shim(line, held):
    if turn() == 0:
        loop = Loop(lambda error: note(repr(error)))
        holder = Holder(loop, line, dict(held), lambda: note("lost"))
        r, w = os.pipe()
        os.write(w, b"last words")
        holder.hold("default/task//7/stdout", r)
        settle(loop)
    if time.monotonic() < until:
        return 1
    note(os.read(held["default/task//7/stdout"], 99).decode())
    return 0
print(Keeper(shim).run())
"""


def run(script: str, directory: Path) -> tuple[str, list[str]]:
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT + script, str(directory)], capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert found.stderr == ""
    return found.stdout.strip(), (directory / "notes").read_text().splitlines()


def test_a_successor_inherits_what_was_held_and_the_keeper_buries_the_children(
    tmp_path: Path,
) -> None:
    printed, notes = run(HOLDS, tmp_path)
    assert printed == "0"
    assert notes == ["first", "pipe/r pipe/w", "kept in the pipe", "-1", "pipe/w"]
    status, time_ns = (tmp_path / "exit").read_text().split()
    assert status == "7"
    assert int(time_ns) > 0
    assert sorted(os.listdir(tmp_path)) == ["exit", "notes"]


def test_a_shim_that_dies_at_its_start_is_not_forked_in_a_frenzy(tmp_path: Path) -> None:
    printed, notes = run(DIES, tmp_path)
    assert printed == "0"
    assert 3 <= len(notes) <= 8


def test_it_ends_when_no_shim_comes_up_and_no_task_needs_one(tmp_path: Path) -> None:
    """As on a full disk: a process that tries for ever would be all that is left of a failed run."""
    printed, notes = run(NEVER, tmp_path)
    assert printed == "1"
    assert 3 <= len(notes) <= 12


def test_it_stays_while_it_holds_what_a_task_has_said(tmp_path: Path) -> None:
    """A task that has ended, and was buried, while one shim after the other was killed."""
    printed, notes = run(LAST_WORDS, tmp_path)
    assert printed == "0"
    assert notes[-1] == "last words"


def test_the_diary_says_why_no_shim_comes_up(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "staging").mkdir()  # where a file has to be
    with pytest.raises(MobyshellError) as caught:
        connect(str(tmp_path / "state"))
    assert "Is a directory" in caught.value.message
    assert "shim.log says why" in caught.value.hint
    assert "Is a directory" in (tmp_path / "state" / "shim.log").read_text()


@pytest.mark.parametrize("how", ["keeper.py", "-m"])
def test_it_says_what_is_wrong_when_its_state_is_gone(tmp_path: Path, how: str) -> None:
    """Started by hand, without the descriptors a client gives it, it ends; it does not linger."""
    package = Path(__file__).parents[3]
    command = (
        [str(package / "mobyshell/core/tasks/keeper.py")]
        if how == "keeper.py"
        else ["-m", "mobyshell.core.tasks.keeper"]
    )
    found = subprocess.run(
        [sys.executable, *command, str(tmp_path / "none"), "0.1", str(package)],
        capture_output=True, text=True, timeout=30, check=False, cwd="/",
    )  # fmt: skip
    assert "No such file" in found.stderr or "Bad file" in found.stderr


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
from mobyshell.core.lazily import lazily
lazily("inspect", "ipaddress", "linecache", "textwrap", "bz2", "lzma")
import mobyshell.core.tasks.shim, mobyshell.core.runtime.runtime, mobyshell.core.oci.rules
print(*sorted(name for name, one in sys.modules.items() if "__getattr__" not in dir(type(one))))
"""


def test_a_shim_loads_nothing_large_that_it_hardly_needs() -> None:
    package = str(Path(__file__).parents[3])
    words = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({package!r})" + SHIM]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(found.stdout.split())
    assert "mobyshell.core.runtime.runtime" in loaded
    large = {"inspect", "ast", "dis", "tokenize", "ipaddress", "hashlib", "_hashlib", "traceback",
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
