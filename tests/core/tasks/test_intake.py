"""Exactly once: a shim killed between any two steps leaves nothing lost and nothing twice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from mobyshell.core.clock import ManualClock
from mobyshell.core.tasks.intake import Intake
from mobyshell.core.tasks.logs import LogReader, LogWriter, content


class Killed(BaseException):
    """Stands for SIGKILL at this point: nothing after it is executed."""


class Bench:
    """A FIFO with a writer, a log, and the things that outlive a shim."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path / "fifo")
        self.ours = os.open(path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        self.theirs = os.open(path / "fifo", os.O_RDWR)
        self.pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def shim(self) -> tuple[Intake, LogWriter]:
        intake = Intake(str(self.path / "staging"), self.pipe, ManualClock())
        return intake, LogWriter(str(self.path / "logs"))

    def recovered(self, *, inherited: bool = True) -> bytes:
        """What is in the log after a successor has taken over and read on."""
        intake, log = self.shim()
        log.close()
        intake.recover(inherited=inherited)
        intake.close()
        intake, log = self.shim()
        while intake.take(self.ours, log, "stdout"):
            pass
        log.close()
        intake.close()
        reader = LogReader(str(self.path / "logs"))
        found = b""
        while lines := reader.read():
            found += b"".join(content(line) for line in lines)
        reader.close()
        return found

    def close(self) -> None:
        for fd in (self.ours, self.theirs, *self.pipe):
            os.close(fd)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


def killed(*_: object, **__: object) -> NoReturn:
    raise Killed


def after(real: Callable[..., object]) -> Callable[..., NoReturn]:
    def call(*args: object, **named: object) -> NoReturn:
        real(*args, **named)
        raise Killed

    return call


def half_written(fd: int, data: bytes) -> NoReturn:
    os.writev(fd, [memoryview(data)[: len(data) // 2]])
    raise Killed


POINTS = {
    "before the splice": ("splice", killed),
    "after the splice": ("splice", after(os.splice)),
    "before the staging pipe is read": ("readv", killed),
    "after it was read": ("readv", after(os.readv)),
    "before the log is written": ("write", killed),
    "in the middle of the write": ("write", half_written),
    "after the write": ("write", after(os.write)),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_nothing_is_lost_and_nothing_comes_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    intake, log = bench.shim()
    os.write(bench.theirs, b"first\n")
    assert intake.take(bench.ours, log, "stdout") == 6
    os.write(bench.theirs, b"second\nand no newline")
    name, instead = POINTS[point]
    with monkeypatch.context() as patch:
        patch.setattr(os, name, instead)
        with pytest.raises(Killed):
            intake.take(bench.ours, log, "stdout")
    os.write(bench.theirs, b", then it came\n")
    assert bench.recovered() == b"first\nsecond\nand no newline, then it came\n"


@pytest.mark.parametrize(
    "point", ["before the splice", "before the log is written", "in the middle of the write",
              "after the write"],
)  # fmt: skip
def test_with_a_new_staging_pipe_only_what_was_in_the_old_one_is_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Keeper and shim killed at once; not between splice and read, some microseconds wide."""
    intake, log = bench.shim()
    os.write(bench.theirs, b"first\n")
    name, instead = POINTS[point]
    with monkeypatch.context() as patch:
        patch.setattr(os, name, instead)
        with pytest.raises(Killed):
            intake.take(bench.ours, log, "stdout")
    for fd in bench.pipe:
        os.close(fd)
    bench.pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    assert bench.recovered(inherited=False) == b"first\n"


def test_a_reader_that_saw_the_first_writing_sees_the_same_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, log = bench.shim()
    os.write(bench.theirs, b"first\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", after(os.write))
        with pytest.raises(Killed):
            intake.take(bench.ours, log, "stdout")
    reader = LogReader(str(bench.path / "logs"))
    assert [line.data for line in reader.read()] == [b"first"]
    os.write(bench.theirs, b"second\n")
    assert bench.recovered() == b"first\nsecond\n"
    assert [line.data for line in reader.read()] == [b"second"]
    reader.close()
    intake.close()
    log.close()


def test_nothing_there_is_zero_and_the_end_is_none(bench: Bench) -> None:
    intake, log = bench.shim()
    assert intake.take(bench.ours, log, "stdout") == 0
    os.close(bench.theirs)
    assert intake.take(bench.ours, log, "stdout") is None
    bench.theirs = os.open("/dev/null", os.O_RDONLY)
    intake.close()
    log.close()


def test_a_full_disk_does_not_stop_the_task(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    intake, log = bench.shim()

    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    os.write(bench.theirs, b"dropped\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert intake.take(bench.ours, log, "stdout") == 8
    os.write(bench.theirs, b"kept\n")
    assert intake.take(bench.ours, log, "stdout") == 5
    log.close()
    intake.close()
    assert bench.recovered() == b"kept\n"
