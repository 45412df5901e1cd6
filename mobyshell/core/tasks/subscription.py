"""Events as the shim tells them, and its successor after it.

Owns the conversation; what an event is belongs to `core.events`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mobyshell.core.errors import ShimLost, Unsupported
from mobyshell.core.events import Event
from mobyshell.core.tasks.pool import COME_BACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from mobyshell.core.tasks.pool import Pool


def subscribe(
    pool: Pool, namespace: str, subscribed: Callable[[], object] | None, *, everywhere: bool
) -> Iterator[Event]:
    """See `service.Tasks.events`. Unsupported if a shim of an older version, which tells one
    namespace only, is asked for all."""
    closings = pool.closings
    while closings == pool.closings:
        connection = pool.take()
        try:
            answer = connection.request("events", namespace, {"everywhere": everywhere})
            if everywhere and not answer.get("everywhere"):
                raise Unsupported("this shim tells the events of one namespace only",
                                  hint="it is of an older version, and leaves with its last "
                                  "task")  # fmt: skip
            if subscribed is not None:
                subscribed()
            while True:
                found = _event(connection.message().get("event"))
                if found is not None:
                    yield found
        except ShimLost:
            if closings == pool.closings:
                time.sleep(COME_BACK)
        finally:
            pool.give(connection, pool=False)


def _event(document: Any) -> Event | None:
    """The event in a message; None for one of a later version."""
    try:
        return Event.from_json(document)
    except (KeyError, TypeError):
        return None
