"""`events`: what happens, as it happens."""

from __future__ import annotations

from mobyshell.commands.registry import NUMBER, READ, TEXT, option, verb
from mobyshell.commands.results import Stream

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobyshell.commands.context import Context
    from mobyshell.core.events import Event


@verb(
    "events", "follow",
    option("--topic", "only topics that begin with this, as in /tasks", TEXT, default=""),
    option("--id", "only of this task", TEXT, default="", name="task"),
    option("-n --count", "stop after so many", NUMBER),
    effect=READ, example="events follow -n 0",
)  # fmt: skip
def follow(ctx: Context, *, topic: str, task: str, count: int | None) -> Stream:
    """Print events from now on: creates, starts, exits, and each kernel call on the way."""

    def chosen() -> Iterator[Event]:
        if count is not None and count <= 0:
            return
        left = count
        for event in ctx.tasks.events():
            if event.topic.startswith(topic) and task in ("", event.id):
                yield event
                if left is not None:
                    left -= 1
                    if left <= 0:
                        return

    return Stream(chosen(), _show)


def _show(event: Event) -> str:
    from mobyshell.commands.output import clean
    from mobyshell.core.clock import rfc3339

    data = event.to_json()["data"]
    if event.topic == "/runtime/call":
        text = f"{data['name']}({', '.join(data['args'])}) = {data['errno'] or data['result']}"
    else:
        text = " ".join(f"{key}={value}" for key, value in data.items() if value not in ("", None))
    return clean(f"{rfc3339(event.time_ns)} {event.namespace} {event.topic} {event.id} {text}")
