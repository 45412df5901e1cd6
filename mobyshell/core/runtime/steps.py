"""Verbs that wait, written once for two drivers.

A verb that must wait (for the child, a hook, the kernel) is a generator: it yields what it waits
for and is resumed with whether that became true in time. The shim drives many of them in its one
event loop, so that a slow hook of one container never holds up the output of another; everybody
else drives one at a time with `run`.
"""

from __future__ import annotations

import select
from collections.abc import Generator
from typing import TypeAlias, TypeVar

from mobyshell.core.values import value

T = TypeVar("T")


@value
class Readable:
    """Wait until one of `fds` can be read (pidfds: has exited), at most `timeout` seconds."""

    fds: tuple[int, ...]
    timeout: float | None = None


@value
class HungUp:
    """Wait until nobody has the other end of `fd` any more, at most `timeout` seconds; what can be read
    before is no news."""

    fd: int
    timeout: float | None = None


@value
class Sleep:
    """Wait `seconds`. For what the kernel has no event for."""

    seconds: float


Steps: TypeAlias = Generator[Readable | HungUp | Sleep, tuple[int, ...], T]
"""A verb in steps. It is sent the descriptors that became readable (none: timed out, or slept)."""


def run(steps: Steps[T]) -> T:
    """Drive a verb to its end in this thread and return its result (or raise its error)."""
    ready: tuple[int, ...] | None = None
    try:
        while True:
            wanted = next(steps) if ready is None else steps.send(ready)
            ready = wait_for(wanted)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


def wait_for(wanted: Readable | HungUp | Sleep) -> tuple[int, ...]:
    """Block until `wanted` holds; the readable descriptors, or () after the time ran out."""
    if isinstance(wanted, Sleep):
        select.select([], [], [], wanted.seconds)
        return ()
    poller = select.poll()
    if isinstance(wanted, HungUp):
        poller.register(wanted.fd, 0)
    else:
        for fd in wanted.fds:
            poller.register(fd, select.POLLIN)
    timeout = None if wanted.timeout is None else max(0, int(wanted.timeout * 1000))
    return tuple(fd for fd, _ in poller.poll(timeout))
