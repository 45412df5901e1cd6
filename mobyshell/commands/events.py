"""`events`: what happens, as it happens."""

from __future__ import annotations

from mobyshell.commands.registry import NUMBER, READ, TEXT, option, verb
from mobyshell.commands.results import Rows, Stream
from mobyshell.core.errors import UsageError

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobyshell.commands.context import Context
    from mobyshell.core.events import Event


_TOPIC = option("--topic", "only topics that begin with this, as in /tasks", TEXT, default="")
_ID = option("--id", "only of this task, image, container, blob", TEXT, default="", name="task")


@verb(
    "events", "ls",
    _TOPIC, _ID,
    option("-n --count", "only the last so many", NUMBER, default=50),
    effect=READ, example="events ls -n 5",
)  # fmt: skip
def ls(ctx: Context, *, topic: str, task: str, count: int) -> Rows:
    """List what happened lately, to tasks and in the store; the last at the bottom."""
    if count < 0:
        raise UsageError("events ls: COUNT is negative", hint="-n 5 for the last five")
    from mobyshell.commands.event_sources import recent

    found = [one for one in recent(ctx)
             if one.topic.startswith(topic) and task in ("", one.id)]  # fmt: skip
    last = found[len(found) - min(count, len(found)) :]
    rows = [{**one.to_json(), "said": _said(one)} for one in last]
    columns = (("time_ns", "WHEN", "ago"), ("topic", "TOPIC", "text"), ("id", "ID", "id"),
               ("said", "WHAT", "text"))  # fmt: skip
    return Rows(columns, rows)


@verb(
    "events", "follow",
    _TOPIC, _ID,
    option("-n --count", "stop after so many", NUMBER),
    effect=READ, example="events follow -n 0",
)  # fmt: skip
def follow(ctx: Context, *, topic: str, task: str, count: int | None) -> Stream:
    """Print events from now on: of tasks, with each kernel call on the way, and of the store."""

    from mobyshell.commands.event_sources import follow as source

    def chosen() -> Iterator[Event]:
        if count is not None and count <= 0:
            return
        left = count
        for event in source(ctx):
            if event.topic.startswith(topic) and task in ("", event.id):
                yield event
                if left is not None:
                    left -= 1
                    if left <= 0:
                        return

    return Stream(chosen(), _show)


def _said(event: Event) -> str:
    data = event.to_json()["data"]
    if event.topic == "/runtime/call":
        return f"{data['name']}({', '.join(data['args'])}) = {data['errno'] or data['result']}"
    return " ".join(f"{key}={value}" for key, value in data.items() if value not in ("", None))


def _show(event: Event) -> str:
    from mobyshell.commands.output import clean
    from mobyshell.core.clock import rfc3339

    when = rfc3339(event.time_ns)
    return clean(f"{when} {event.namespace} {event.topic} {event.id} {_said(event)}")
