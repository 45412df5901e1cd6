"""Where events come from: the tasks' shim and the store, told as one stream."""

from __future__ import annotations

from mobyshell.core.errors import MobyshellError

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mobyshell.commands.context import Context
    from mobyshell.core.events import Event

_LOOK = 1.0
"""Seconds between two looks whether the caller has enough, where nothing happens."""


def recent(ctx: Context, *, everywhere: bool = False) -> list[Event]:
    """What happened lately in this namespace, or `everywhere`; the oldest first. A store that is not
    there is not made for it."""
    found = list(ctx.tasks.recent_events(everywhere=everywhere))
    if ctx.has_store:
        from mobyshell.core.store import events

        found += events.recent(ctx.store.database, namespace=None if everywhere else ctx.namespace)
    return sorted(found, key=lambda one: one.time_ns)


def follow(
    ctx: Context, *, everywhere: bool = False, stopped: Callable[[], bool] = lambda: False,
    subscribed: Callable[[], object] | None = None,
) -> Iterator[Event]:  # fmt: skip
    """What happens from now on, until the caller has enough, or `stopped` says so (it is asked once
    a second). `subscribed` is called as `Tasks.events` calls it."""
    import queue
    import threading

    from mobyshell.core.store import events

    told: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    enough = threading.Event()

    def pass_on(source: Iterable[Event]) -> None:
        try:
            for event in source:
                told.put(event)
                if enough.is_set():
                    return
        except (MobyshellError, OSError) as error:
            told.put(error)
        else:
            told.put(None)

    sources: list[Iterable[Event]] = [ctx.tasks.events(subscribed, everywhere=everywhere)]
    try:
        database = ctx.store.database
        sources.append(events.follow(database, events.last(database), stopped=enough.is_set,
                                     namespace=None if everywhere else ctx.namespace))  # fmt: skip
    except MobyshellError as error:
        ctx.say(f"note: no events of the store: {error.message}")
    threads = [threading.Thread(target=pass_on, args=(one,), daemon=True) for one in sources]
    for one in threads:
        one.start()
    try:
        while not stopped():
            try:
                event = told.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if event is None:  # the shim's end is the end
                return
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        enough.set()
        for one in threads[1:]:
            one.join()  # before the store is closed; it looks once a second


def of_store(
    ctx: Context, subscribed: Callable[[], object], stopped: Callable[[], bool]
) -> Iterator[Event]:
    """What happens in the store, in every namespace, from when `subscribed` is called until
    `stopped`, which is asked once a second. For a thread: it has a connection of its own, and the
    session may close the store meanwhile."""
    from mobyshell.core.store import events
    from mobyshell.core.store.database import Database

    with Database(ctx.store.database.path) as database:
        after = events.last(database)
        subscribed()
        yield from events.follow(database, after, stopped=stopped)
