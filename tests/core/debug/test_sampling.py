"""Sampling and looking at this process itself: by a timer's signal, from a thread, at its heap."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import tracemalloc
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

from mobyshell.core.debug import heap, stacks, timer
from mobyshell.core.debug.answers import Answers
from mobyshell.core.debug.request import Request, target
from mobyshell.core.debug.threads import Sampler
from mobyshell.core.debug.tree import totals
from mobyshell.core.debug.values import DEEPEST, MOST_STACKS, Profile, to_wire

T = TypeVar("T")


def burn(seconds: float) -> None:
    """Use the processor, in this thread, for so long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(200))


def end(steps: Generator[float, None, T]) -> T:
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        value: T = stop.value
        return value


def test_the_timer_finds_who_used_the_processor_and_goes() -> None:
    before = signal.getsignal(signal.SIGPROF)
    steps = timer.sample(Request("flame", seconds=1, hertz=200))
    assert next(steps) == 1
    burn(1.0)
    profile = end(steps)
    busiest = max((one for one in totals(profile)), key=lambda one: (one.ns, one.own_ns))
    by_name = {one.frame.name: one for one in totals(profile)}
    assert by_name["burn"].ns > 0.8 * profile.ns
    assert busiest.ns >= by_name["burn"].ns
    assert profile.ns > 0.5e9
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGPROF) == before


def test_by_the_wall_clock_waiting_counts_and_a_closed_answer_stops_the_timer() -> None:
    steps = timer.sample(Request("flame", seconds=1, clock="wall"))
    next(steps)
    time.sleep(0.5)
    profile = end(steps)
    assert profile.ns > 0.3e9
    assert profile.clock == "wall"
    steps = timer.sample(Request("flame", seconds=1, clock="wall"))
    next(steps)
    steps.close()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_many_and_deep_stacks_are_bounded() -> None:
    steps = timer.sample(Request("flame", seconds=1, hertz=1000))
    next(steps)
    deep(900)
    profile = end(steps)
    assert max(len(stack.frames) for stack in profile.stacks) <= DEEPEST
    assert len(profile.stacks) <= MOST_STACKS
    assert any("more)" in stack.frames[0].name for stack in profile.stacks)


def deep(left: int) -> None:
    if left:
        deep(left - 1)
    else:
        burn(0.5)


def test_from_a_thread_only_who_used_the_processor_has_time() -> None:
    over = threading.Event()

    def burn_on() -> None:
        while not over.is_set():
            burn(0.05)

    burner = threading.Thread(target=burn_on, name="b")
    waiter = threading.Thread(target=over.wait, name="w")
    profile: list[Profile] = []

    def look() -> None:
        steps = Sampler(lambda: {threading.get_ident()}).sample(Request("flame", seconds=1))
        try:
            while True:
                time.sleep(next(steps))
        except StopIteration as stop:
            profile.append(stop.value)

    looker = threading.Thread(target=look, name="looker")
    for one in (burner, waiter, looker):
        one.start()
    looker.join()
    over.set()
    for one in (burner, waiter):
        one.join()
    spent: dict[str, int] = {}
    for stack in profile[0].stacks:
        spent[stack.label] = spent.get(stack.label, 0) + stack.ns
    assert max(spent, key=lambda label: spent[label]) == "b"
    assert spent.get("w", 0) < spent["b"] / 4
    assert "looker" not in spent


def test_stacks_have_threads_and_what_is_suspended() -> None:
    def inner() -> Iterator[int]:
        yield 1

    def outer() -> Iterator[int]:
        yield from inner()

    suspended = outer()
    next(suspended)

    async def waits() -> dict[str, Any]:
        task = asyncio.create_task(sleeps())
        await asyncio.sleep(0)
        found = stacks.now()
        task.cancel()
        return found

    async def sleeps() -> None:
        await asyncio.Event().wait()

    found = asyncio.run(waits())
    chains = [
        [frame[0].rpartition(".")[2] for frame in one["frames"]] for one in found["suspended"]
    ]
    assert ["outer", "inner"] in chains
    assert ["inner"] not in chains
    assert ["sleeps", "wait"] in chains
    main = next(one for one in found["threads"] if one["label"] == "MainThread")
    assert "waits" in main["frames"][-1][0]


def test_the_heap_has_what_was_allocated_while_it_was_watched() -> None:
    assert not tracemalloc.is_tracing()
    steps = heap.watch(Request("heap", seconds=0.1, top=3))
    next(steps)
    kept = [bytes(1000) for _ in range(1000)]
    told = end(steps)
    first = told["allocated"][0]
    assert first["file"] == __file__
    assert first["bytes"] > 1_000_000
    assert first["count"] >= len(kept)
    assert "0.1 s ago" in told["since"]
    assert not tracemalloc.is_tracing()
    assert len(told["objects"]) == 3
    none = end(heap.watch(Request("heap", top=1)))
    assert none["allocated"] == []
    assert "since" not in none


def test_one_watches_at_a_time_and_who_leaves_makes_room() -> None:
    answers = Answers(timer.sample)

    def ask(request: Request) -> Generator[float, None, bytes]:
        return answers.to(f"GET {target(request)} HTTP/1.1\r\n\r\n".encode())

    first = ask(Request("flame", seconds=1))
    next(first)
    assert end(ask(Request("heap", seconds=1))).startswith(b"HTTP/1.1 503 ")
    assert end(ask(Request("stacks"))).startswith(b"HTTP/1.1 200 ")
    first.close()
    assert end(ask(Request("heap", seconds=0.01))).startswith(b"HTTP/1.1 200 ")
    for form, kind in (
        ("svg", b"image/svg+xml"),
        ("folded", b"text/plain"),
        ("speedscope", b"json"),
    ):
        assert kind in end(ask(Request("flame", seconds=0.01, form=form)))


def test_a_function_of_a_name_that_is_no_text_can_be_told() -> None:
    space: dict[str, Any] = {}
    exec("def odd(frame):\n    return frame(0)", space)
    odd = space["odd"]
    odd.__code__ = odd.__code__.replace(co_qualname="od\udcffd\x1b", co_name="odd")
    import sys

    from mobyshell.core.debug.values import codes_of, stacks_of

    found = stacks_of({("main", codes_of(odd(sys._getframe))): 1})
    assert found[0].frames[-1].name == "od\\udcffd\x1b"
    assert "\\udcff" in str(to_wire(Profile("cpu", 1, 1, found)))
