"""`events`: what happens, as it happens."""

from __future__ import annotations

from mobyshell.commands.registry import NUMBER, READ, TEXT, option, switch, verb
from mobyshell.commands.results import Rows, Stream
from mobyshell.core.errors import UsageError

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobyshell.commands.context import Context
    from mobyshell.core.events import Event


_WHICH = (
    option("--topic", "only topics that begin with this, as in /tasks", TEXT, default=""),
    option("--id", "only of this task, image, container, blob", TEXT, default="", name="task"),
    option("--filter", "containerd's language, as in topic==/tasks/exit,event.exit_status!=0; of "
           "several, one is enough", TEXT, many=True),
    switch("-A --all-namespaces", "of every namespace"),
)  # fmt: skip


def _chosen(topic: str, task: str, filters: tuple[str, ...]) -> Callable[[Event], bool]:
    from mobyshell.commands.event_words import matcher

    meant = matcher(filters)
    return lambda one: one.topic.startswith(topic) and task in ("", one.id) and meant(one)


@verb(
    "events", "ls",
    *_WHICH,
    option("-n --count", "only the last so many", NUMBER, default=50),
    effect=READ, example="events ls -n 5",
)  # fmt: skip
def ls(
    ctx: Context, *, topic: str, task: str, filter: tuple[str, ...], all_namespaces: bool,
    count: int,
) -> Rows:  # fmt: skip
    """List what happened lately, to tasks and in the store; the last at the bottom."""
    if count < 0:
        raise UsageError("events ls: COUNT is negative", hint="-n 5 for the last five")
    from mobyshell.commands.event_sources import recent
    from mobyshell.commands.event_words import said

    meant = _chosen(topic, task, filter)
    found = [one for one in recent(ctx, everywhere=all_namespaces) if meant(one)]
    last = found[len(found) - min(count, len(found)) :]
    rows = [{**one.to_json(), "said": said(one)} for one in last]
    columns = [("time_ns", "WHEN", "ago"), ("topic", "TOPIC", "text"), ("id", "ID", "id"),
               ("said", "WHAT", "text")]  # fmt: skip
    if all_namespaces:
        columns.insert(1, ("namespace", "NAMESPACE", "text"))
    return Rows(columns, rows)


@verb(
    "events", "follow",
    *_WHICH,
    option("-n --count", "stop after so many", NUMBER),
    effect=READ, example="events follow -n 0",
)  # fmt: skip
def follow(
    ctx: Context, *, topic: str, task: str, filter: tuple[str, ...], all_namespaces: bool,
    count: int | None,
) -> Stream:  # fmt: skip
    """Print events from now on: of tasks, with each kernel call on the way, and of the store."""

    from mobyshell.commands.event_sources import follow as source

    meant = _chosen(topic, task, filter)

    def chosen() -> Iterator[Event]:
        if count is not None and count <= 0:
            return
        left = count
        for event in source(ctx, everywhere=all_namespaces):
            if meant(event):
                yield event
                if left is not None:
                    left -= 1
                    if left <= 0:
                        return

    return Stream(chosen(), _show)


@verb("events", "topics", effect=READ, example="events topics")
def topics(ctx: Context) -> Rows:
    """List what can happen: each topic, what it means, and whose word it is."""
    from mobyshell.commands.event_meanings import MEANINGS

    rows = [{"topic": topic, "means": one.means, "whose": one.whose}
            for topic, one in MEANINGS.items()]  # fmt: skip
    columns = (("topic", "TOPIC", "id"), ("whose", "WHOSE", "text"), ("means", "MEANS", "prose"))
    return Rows(columns, rows, "topic")


def _show(event: Event) -> str:
    from mobyshell.commands.event_words import said
    from mobyshell.commands.output import clean
    from mobyshell.core.clock import rfc3339

    when = rfc3339(event.time_ns)
    return clean(f"{when} {event.namespace} {event.topic} {event.id} {said(event)}")
