"""Locks by number: between threads, between processes, and after a death."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mobyshell.core.errors import SyscallFailed, TimedOut
from mobyshell.core.linux.range_locks import RangeLocks

HOLD = """
import sys
from pathlib import Path
from mobyshell.core.linux.range_locks import RangeLocks
with RangeLocks(Path(sys.argv[1])) as locks:
    locks.take(sys.argv[2:], 0, "this")
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_other_names_are_free(tmp_path: Path) -> None:
    with RangeLocks(tmp_path / "locks") as one, RangeLocks(tmp_path / "locks") as other:
        one.take(["a", "b", "a"], 0, "a and b")
        other.take(["c"], 0, "c")
        with RangeLocks(tmp_path / "locks") as third, pytest.raises(TimedOut):
            third.take(["b"], 0, "b")


def test_they_are_given_back(tmp_path: Path) -> None:
    for _ in range(3):
        with RangeLocks(tmp_path / "locks") as locks:
            locks.take(["a"], 0, "a")
            with RangeLocks(tmp_path / "locks") as others, pytest.raises(TimedOut):
                others.take(["a"], 0, "a")


def test_threads_that_want_the_same_in_any_order(tmp_path: Path) -> None:
    names = [f"name-{number}" for number in range(6)]
    inside: list[int] = []
    most = []

    def work(number: int) -> None:
        for turn in range(5):
            with RangeLocks(tmp_path / "locks") as locks:
                first = (number + turn) % 5
                locks.take([names[first + 1], names[first], names[5]], 60, "these")
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(most), max(most)) == (30, 1)


def test_who_has_it_is_named_until_they_die(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "locks"), "a", "b"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with RangeLocks(tmp_path / "locks") as locks:
            with pytest.raises(TimedOut, match=f"the work: process {holder.pid} is at it"):
                locks.take(["b"], 0.05, "the work")
            holder.kill()
            locks.take(["b"], 60, "the work")
    finally:
        holder.kill()
        holder.communicate()


def test_where_no_file_can_be_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(SyscallFailed):
        RangeLocks(tmp_path / "nowhere" / "locks")
