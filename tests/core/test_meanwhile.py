"""What is done meanwhile is done at the end of the block, and its error is told."""

from __future__ import annotations

import threading

import pytest

from mobyshell.core.meanwhile import Meanwhile


def test_both_go_on_at_once() -> None:
    here, there = threading.Event(), threading.Event()
    seen: list[str] = []

    def work() -> None:
        there.set()
        assert here.wait(60)
        seen.append(threading.current_thread().name)

    with Meanwhile(work, "other"):
        assert there.wait(60)
        here.set()
    assert seen == ["other"]


def test_what_it_raises_is_raised_at_the_end() -> None:
    with pytest.raises(ZeroDivisionError), Meanwhile(lambda: 1 // 0, "other"):
        pass


def test_the_error_of_the_block_is_the_one_and_comes_after_the_work() -> None:
    ended = threading.Event()

    def work() -> None:
        ended.set()
        raise ValueError

    with pytest.raises(KeyError), Meanwhile(work, "other"):
        raise KeyError
    assert ended.is_set()
