"""Driving verbs that wait."""

from __future__ import annotations

import os
import threading

import pytest

from mobyshell.core.runtime.steps import HungUp, Readable, Sleep, Steps, run


def test_a_verb_that_never_waits_just_returns() -> None:
    def verb() -> Steps[int]:
        return 7
        yield

    assert run(verb()) == 7


def test_readable_tells_which_descriptors_are_ready_and_nothing_on_timeout() -> None:
    quiet, quiet_end = os.pipe()
    loud, loud_end = os.pipe()
    try:
        os.write(loud_end, b"x")

        def verb() -> Steps[list[tuple[int, ...]]]:
            first = yield Readable((quiet, loud), timeout=60)
            second = yield Readable((quiet,), timeout=0.01)
            slept = yield Sleep(0.001)
            return [first, second, slept]

        assert run(verb()) == [(loud,), (), ()]
    finally:
        for fd in (quiet, quiet_end, loud, loud_end):
            os.close(fd)


def test_a_hangup_counts_as_readable() -> None:
    end, other = os.pipe()
    os.close(other)
    try:

        def verb() -> Steps[tuple[int, ...]]:
            return (yield Readable((end,), timeout=60))

        assert run(verb()) == (end,)
    finally:
        os.close(end)


def test_an_error_reaches_the_caller_and_the_verb_cleans_up() -> None:
    cleaned = []

    def verb() -> Steps[None]:
        try:
            yield Sleep(0)
            raise ValueError("inside")
        finally:
            cleaned.append(True)

    with pytest.raises(ValueError, match="inside"):
        run(verb())
    assert cleaned == [True]


def test_the_end_of_a_pipe_is_waited_for_past_what_is_in_it() -> None:
    there, here = os.pipe()
    os.write(here, b"r")
    threading.Timer(0.05, os.close, (here,)).start()

    def verb() -> Steps[bytes]:
        assert (yield HungUp(there)) == (there,)
        return os.read(there, 9) + os.read(there, 9)

    assert run(verb()) == b"r"
    os.close(there)
