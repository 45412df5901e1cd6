"""What a process is doing right now: the stack of each thread, and what waits to be gone on with.

Generators and coroutines that are suspended are what goroutines are to containerd: a verb of the
shim that waits for a container is one, and so is a task of an event loop.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Collection
from types import CoroutineType, FrameType, GeneratorType
from typing import Any

from mobyshell.core.debug.values import DEEPEST, Frame, Stack, frame_of

_MOST = 200
_OURS = "/mobyshell/core/debug/"


def now(without: Collection[int] = ()) -> dict[str, Any]:
    """The stacks of this process as JSON values. `without`: threads that only ask (their idents)."""
    names = {one.ident: one.name for one in threading.enumerate()}
    threads = [
        Stack(names.get(ident) or f"thread {ident}", _of(frame))
        for ident, frame in sys._current_frames().items()
        if ident not in without
    ]
    waiting = _suspended()
    return {
        "threads": [_wire(one) for one in threads],
        "suspended": [_wire(one) for one in waiting[:_MOST]],
        "left_out": max(0, len(waiting) - _MOST),
    }


def _wire(stack: Stack) -> dict[str, Any]:
    frames = [[frame.name, frame.file, frame.line] for frame in stack.frames]
    return {"label": stack.label, "frames": frames}


def _of(frame: FrameType | None) -> tuple[Frame, ...]:
    """Outermost first, at most DEEPEST of the innermost; without what only answers this question."""
    found: list[Frame] = []
    while frame is not None:
        if _OURS not in frame.f_code.co_filename:
            found.append(frame_of(frame.f_code, frame.f_lineno or 0))
        frame = frame.f_back
    return tuple(reversed(found[:DEEPEST]))


def _suspended() -> list[Stack]:
    """The outermost generators and coroutines that wait, each with those it waits for."""
    chains: dict[int, tuple[list[Any], bool]] = {}
    inner: set[int] = set()
    for one in gc.get_objects():
        if isinstance(one, (GeneratorType, CoroutineType)):
            chain = _chain(one)
            if chain:
                chains[id(one)] = chain, isinstance(one, CoroutineType)
                inner.update(id(other) for other in chain[1:])
    return [
        Stack("coroutine" if coroutine else "generator", _frames(chain))
        for key, (chain, coroutine) in chains.items()
        if key not in inner
    ]


def _chain(one: Any) -> list[Any]:
    """`one` and what it waits for in turn; nothing if it is not suspended in the midst of its work."""
    found: list[Any] = []
    while len(found) < DEEPEST:
        if isinstance(one, GeneratorType) and one.gi_frame is not None and one.gi_suspended:
            found.append(one)
            one = one.gi_yieldfrom
        elif isinstance(one, CoroutineType) and one.cr_frame is not None and one.cr_suspended:
            found.append(one)
            one = one.cr_await
        else:
            break
    return found


def _frames(chain: list[Any]) -> tuple[Frame, ...]:
    found = []
    for one in chain:
        frame = one.gi_frame if isinstance(one, GeneratorType) else one.cr_frame
        if frame is not None:
            found.append(frame_of(frame.f_code, frame.f_lineno or 0))
    return tuple(found)
