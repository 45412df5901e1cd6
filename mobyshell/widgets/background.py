"""Work that may block, in threads of its own; what it finds, or why it failed, comes as a message.

Not Textual's thread workers: those share a pool of a few threads with each other, so that a
handful of waiting calls stops all others, and the program waits for them when it is left. A thread
here is a daemon's: who leaves the workbench does not wait for what was asked for before.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from textual.message import Message
from textual.message_pump import MessagePump
from textual.widget import Widget
from textual.worker import Worker

P = ParamSpec("P")
T = TypeVar("T")
Pump = TypeVar("Pump", bound=Widget)


@dataclass
class Failed(Message):
    """Work of this name ended with an exception. Bubbles: the screen says it, if no pane does."""

    what: str
    error: Exception


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns or raises, from a thread; the event loop goes on meanwhile.

    A caller that is cancelled is free at once; the thread ends when it ends, heard by nobody.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            pass  # the loop is closed: the workbench was left, and nobody waits any more

    threading.Thread(target=run, daemon=True, name="background").start()
    return await future


def background(
    group: str,
) -> Callable[
    [Callable[Concatenate[Pump, P], Message | None]],
    Callable[Concatenate[Pump, P], Worker[None]],
]:
    """Declare that a method of a widget runs in a thread, the latest of its `group` only.

    It must not touch widgets. The message it returns is posted to its widget; an exception is
    posted as `Failed(group, error)`. An answer that came too late (another call of the group was
    made meanwhile) is dropped.
    """

    def declare(
        method: Callable[Concatenate[Pump, P], Message | None],
    ) -> Callable[Concatenate[Pump, P], Worker[None]]:
        @wraps(method)
        def start(self: Pump, *args: P.args, **more: P.kwargs) -> Worker[None]:
            async def answer() -> None:
                post(self, group, await outcome(partial(method, self, *args, **more)))

            return self.run_worker(answer, group=group, exclusive=True, exit_on_error=False)

        return start  # type: ignore[return-value]  # mypy: `wraps` forgets that self has no name

    return declare


async def outcome(work: Callable[[], Message | None]) -> Message | Exception | None:
    """What `work` returned, or the exception it raised."""
    try:
        return await in_thread(work)
    except Exception as error:
        return error


def post(pump: MessagePump, what: str, found: Message | Exception | None) -> None:
    """Post what was found."""
    message: Any = Failed(what, found) if isinstance(found, Exception) else found
    if message is not None:
        pump.post_message(message)
