"""Work on several things at once, of which the first that fails ends the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from mobyshell.core.errors import Interrupted
from mobyshell.core.registry.stop import Stop

T = TypeVar("T")


def in_parallel(work: Callable[[T], None], things: Iterable[T], most: int, stop: Stop) -> None:
    """Do `work` on all things, in at most so many threads, in this order.

    Raises the first error; whatever else is under way is stopped then, and has ended. So it is
    when the caller is interrupted meanwhile.
    """
    waiting = list(reversed(list(things)))
    if len(waiting) == 1:
        work(waiting[0])
        return
    errors: list[BaseException] = []
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                if not waiting or errors:
                    return
                one = waiting.pop()
            try:
                work(one)
            except BaseException as error:
                with lock:
                    errors.append(error)
                stop.stop()
                return

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(most, len(waiting)))]
    try:
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    except BaseException:
        stop.stop()
        for one in threads:
            if one.ident is not None:
                one.join()
        raise
    if errors:
        # those that were stopped say so; who stopped them knows why
        raise next((one for one in errors if not isinstance(one, Interrupted)), errors[0])
