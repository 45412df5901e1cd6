"""What lies ready for the next process: taken once, let go of when nobody comes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.clock import SystemClock
from mobyshell.core.errors import SyscallFailed
from mobyshell.core.tasks.loop import Loop
from mobyshell.core.tasks.paths import LOGS, MAKING
from mobyshell.core.tasks.stock import Stock

US = (os.geteuid(), os.getegid())


@pytest.fixture
def loop() -> Iterator[Loop]:
    def raised(error: BaseException) -> None:
        raise error

    made = Loop(raised)
    yield made
    made.close()


@pytest.fixture
def stock(tmp_path: Path, loop: Loop) -> Iterator[Stock]:
    (tmp_path / MAKING).mkdir()
    before = len(os.listdir("/proc/self/fd"))
    made = Stock(str(tmp_path), loop, SystemClock())
    yield made
    made.clear()
    assert os.listdir(tmp_path / MAKING) == []
    assert len(os.listdir("/proc/self/fd")) == before


def use(stock: Stock, *, terminal: bool = False, stdin: bool = False) -> str:
    """Take, write through it, and put it away; what directory it was."""
    directory, ends = stock.take(terminal=terminal, stdin=stdin, owner=US)
    assert os.path.isdir(f"{directory}/{LOGS}")
    for number, name in ((1, "stdout"), (2, "stderr")) if not terminal else ():
        os.write(ends.theirs[number], name.encode())
        assert os.read(ends.ours[name], 99) == name.encode()
        assert stat.S_ISFIFO(os.stat(f"{directory}/{name}").st_mode)
    if stdin:
        os.write(ends.ours["stdin"], b"in")
        assert os.read(ends.theirs[0], 9) == b"in"
    ends.close()
    os.rmdir(f"{directory}/{LOGS}")
    for name in os.listdir(directory):
        os.unlink(f"{directory}/{name}")
    os.rmdir(directory)
    return directory


def test_it_is_there_before_it_is_wanted_and_taken_once(stock: Stock, tmp_path: Path) -> None:
    stock.fill()
    stock.fill()
    (ready,) = os.listdir(tmp_path / MAKING)
    assert use(stock).endswith(ready)
    assert not use(stock).endswith(ready)


def test_who_wants_input_gets_it_too(stock: Stock, tmp_path: Path) -> None:
    stock.fill()
    (ready,) = os.listdir(tmp_path / MAKING)
    assert use(stock, stdin=True).endswith(ready)


def test_a_terminal_needs_none_of_it(stock: Stock, tmp_path: Path) -> None:
    stock.fill()
    (ready,) = os.listdir(tmp_path / MAKING)
    assert not use(stock, terminal=True).endswith(ready)
    assert os.listdir(tmp_path / MAKING) == [ready]


def test_what_nobody_takes_is_let_go_of(
    stock: Stock, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobyshell.core.tasks.stock._KEPT", 0.01)
    stock.fill()
    loop.call_later(0.05, loop.stop)
    loop.run()
    assert os.listdir(tmp_path / MAKING) == []


def test_without_a_place_who_needs_it_is_told(tmp_path: Path, loop: Loop) -> None:
    stock = Stock(str(tmp_path / "nowhere"), loop, SystemClock())
    stock.fill()
    with pytest.raises(SyscallFailed, match="nowhere"):
        stock.take(terminal=False, stdin=False, owner=US)
