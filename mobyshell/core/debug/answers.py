"""The answers of one process, whoever carries them: in steps, so that a loop can do something else.

An answer is a generator that yields seconds to wait and returns the bytes to be sent. Closed early,
it ends what it had begun.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator
from dataclasses import replace

from mobyshell.core.debug import heap, stacks
from mobyshell.core.debug.request import Busy, Request, answer, document, failure, parse
from mobyshell.core.debug.values import Profile, to_wire
from mobyshell.core.errors import MobyshellError

Sampling = Callable[[Request], Generator[float, None, Profile]]
Steps = Generator[float, None, bytes]


class Answers:
    """What a process answers. One client at a time watches, since what it uses (a timer, tracemalloc)
    the process has once."""

    def __init__(self, sample: Sampling) -> None:
        self._sample = sample
        self._watched = False

    def to(self, data: bytes, without: Collection[int] = ()) -> Steps:
        """The answer to the request `data`. `without`: threads that only ask."""
        try:
            return (yield from self._to(parse(data), without))
        except (MobyshellError, Busy) as error:
            return failure(error)

    def _to(self, request: Request, without: Collection[int]) -> Steps:
        if request.what == "stacks":
            return answer(document({"pid": os.getpid(), **stacks.now(without)}))
        if self._watched:
            raise Busy("somebody else is watching this process")
        self._watched = True
        try:
            if request.what == "heap":
                return answer(document((yield from heap.watch(request))))
            profile = replace((yield from self._sample(request)), pid=os.getpid())
        finally:
            self._watched = False
        return answer(_drawn(profile, request.form), request.form)


def _drawn(profile: Profile, form: str) -> str:
    if form == "svg":
        from mobyshell.core.debug.svg import draw

        return draw(profile)
    if form == "speedscope":
        from mobyshell.core.debug.speedscope import speedscope

        return document(speedscope(profile))
    if form == "folded":
        from mobyshell.core.debug.folded import folded

        return folded(profile)
    return document(to_wire(profile))
