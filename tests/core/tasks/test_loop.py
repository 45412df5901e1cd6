"""The loop: many verbs at once, several watchers of one descriptor, errors that stop nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeVar

import pytest

from mobyshell.core.errors import WrongState
from mobyshell.core.runtime.steps import HungUp, Readable, Sleep, Steps
from mobyshell.core.tasks.loop import Loop

T = TypeVar("T")


@pytest.fixture
def complaints() -> list[BaseException]:
    return []


@pytest.fixture
def loop(complaints: list[BaseException]) -> Iterator[Loop]:
    found = Loop(complaints.append)
    yield found
    found.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass  # closed by the test


def ended(loop: Loop, steps: Steps[T]) -> tuple[T | None, BaseException | None]:
    """Run the loop until a verb has ended: its result, or its error."""
    found: list[tuple[T | None, BaseException | None]] = []

    def done(result: T | None, error: BaseException | None) -> None:
        found.append((result, error))
        loop.stop()

    loop.drive(steps, done)
    loop.run()
    (one,) = found
    return one


def test_several_watchers_of_one_descriptor_all_hear(loop: Loop, pipe: tuple[int, int]) -> None:
    heard: list[str] = []

    def last() -> None:
        heard.append("second")
        loop.stop()

    first = loop.watch(pipe[0], lambda: heard.append("first"))
    second = loop.watch(pipe[0], last)
    os.write(pipe[1], b"x")
    loop.run()
    assert heard == ["first", "second"]
    first.close()
    heard.clear()
    loop.run()
    assert heard == ["second"]
    second.close()


def test_reading_and_writing_of_one_descriptor_do_not_mix(loop: Loop) -> None:
    import socket

    ours, theirs = socket.socketpair()
    heard: list[str] = []

    def readable() -> None:
        heard.append("in")
        ours.recv(9)

    def writable() -> None:
        heard.append("out")
        loop.stop()

    reading = loop.watch(ours.fileno(), readable)
    writing = loop.watch(ours.fileno(), writable, write=True)
    loop.run()
    assert heard == ["out"]
    writing.close()
    theirs.send(b"x")
    loop.call_later(0.02, loop.stop)
    loop.run()
    assert heard == ["out", "in"]
    reading.close()
    ours.close()
    theirs.close()


def test_a_callback_that_raises_is_reported_once_and_stops_nothing(
    loop: Loop, pipe: tuple[int, int], complaints: list[BaseException]
) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    loop.watch(pipe[0], broken)
    os.write(pipe[1], b"x")
    loop.call_soon(broken)
    loop.call_later(0.01, broken)
    loop.call_later(0.03, loop.stop)
    loop.run()
    assert [str(one) for one in complaints] == ["broken"] * 3


def test_closing_a_watch_in_a_callback_silences_the_others_of_this_turn(
    loop: Loop, pipe: tuple[int, int]
) -> None:
    heard: list[int] = []

    def close_the_other() -> None:
        heard.append(1)
        second.close()
        loop.stop()

    first = loop.watch(pipe[0], close_the_other)
    second = loop.watch(pipe[0], lambda: heard.append(2))
    os.write(pipe[1], b"x")
    loop.run()
    assert heard == [1]
    first.close()


def test_a_descriptor_may_be_closed_before_its_watch(loop: Loop, pipe: tuple[int, int]) -> None:
    watch = loop.watch(pipe[0], lambda: None)
    os.close(pipe[0])
    watch.close()
    again = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    os.close(again)


def test_timers_come_in_order_and_can_be_cancelled(loop: Loop) -> None:
    heard = []
    loop.call_later(0.02, lambda: heard.append("late"))
    loop.call_later(0.01, lambda: heard.append("early"))
    loop.call_later(0.01, lambda: heard.append("never")).cancel()
    loop.call_later(0.03, loop.stop)
    loop.run()
    assert heard == ["early", "late"]


def test_verbs_run_beside_each_other(loop: Loop, pipe: tuple[int, int]) -> None:
    order: list[object] = []

    def reader() -> Steps[str]:
        order.append("reader waits")
        ready = yield Readable((pipe[0],))
        assert ready == (pipe[0],)
        return os.read(pipe[0], 9).decode()

    def writer() -> Steps[str]:
        yield Sleep(0.01)
        order.append("writer writes")
        os.write(pipe[1], b"hi")
        return "written"

    def done(result: str | None, error: BaseException | None) -> None:
        order.append(result or error)
        if not loop.driving:
            loop.stop()

    loop.drive(reader(), done)
    loop.drive(writer(), done)
    assert loop.driving == 2
    loop.run()
    assert order == ["reader waits", "writer writes", "written", "hi"]
    assert loop.driving == 0


def test_a_verb_that_waits_too_long_is_told_so(loop: Loop, pipe: tuple[int, int]) -> None:
    def verb() -> Steps[tuple[int, ...]]:
        return (yield Readable((pipe[0],), 0.01))

    assert ended(loop, verb()) == ((), None)


def test_a_verb_that_waits_for_a_regular_file_goes_on_at_once(loop: Loop) -> None:
    def verb() -> Steps[tuple[int, ...]]:
        fd = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
        try:
            ready = yield Readable((fd,))
            return ready
        finally:
            os.close(fd)

    ready, error = ended(loop, verb())
    assert ready
    assert error is None


def test_a_verb_waits_for_the_end_and_not_for_what_comes_before(loop: Loop) -> None:
    there, here = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    other = os.dup(here)
    heard: list[bytes] = []

    def verb() -> Steps[bytes]:
        yield HungUp(there)
        return os.read(there, 9)

    def write() -> None:
        os.write(here, b"r")

    loop.call_later(0.01, write)
    loop.call_later(0.02, lambda: os.close(here))
    loop.call_later(0.05, lambda: heard.append(b"later"))
    loop.call_later(0.06, lambda: os.close(other))
    read, error = ended(loop, verb())
    assert (heard, read, error) == ([b"later"], b"r", None)
    os.close(there)


def test_the_error_of_a_verb_is_its_result(loop: Loop, complaints: list[BaseException]) -> None:
    def verb() -> Steps[None]:
        yield Sleep(0)
        raise WrongState("no")

    result, error = ended(loop, verb())
    assert result is None
    assert isinstance(error, WrongState)
    assert complaints == []


def test_a_renewed_loop_goes_on_with_its_watches(loop: Loop, pipe: tuple[int, int]) -> None:
    heard: list[int] = []

    def readable() -> None:
        heard.append(1)
        loop.stop()

    watch = loop.watch(pipe[0], readable)
    loop.renew()
    os.write(pipe[1], b"x")
    loop.run()
    assert heard == [1]
    watch.close()


def test_it_is_told_when_the_last_verb_has_ended_however_it_did(
    loop: Loop, complaints: list[BaseException]
) -> None:
    """So a shim looks whether it can go, also if nobody waits for the answer any more."""
    told: list[int] = []

    def rested() -> None:
        told.append(loop.driving)
        loop.stop()

    loop.rested = rested

    def verb(seconds: float) -> Steps[None]:
        yield Sleep(seconds)
        if seconds > 0.01:
            raise WrongState("it did not work")

    def done(result: object, error: BaseException | None) -> None:
        if error is not None:
            raise error

    loop.drive(verb(0.01), done)
    loop.drive(verb(0.02), done)
    loop.run()
    assert told == [0]
    assert [str(one) for one in complaints] == ["it did not work"]
