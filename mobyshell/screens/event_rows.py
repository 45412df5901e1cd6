"""Events as rows and texts, and the commands that show the same. Pure: values in, rows out."""

from __future__ import annotations

import json
import shlex
from typing import Any

from mobyshell.commands.event_meanings import CONTAINERD, MEANINGS
from mobyshell.commands.event_words import is_filter, payload_line
from mobyshell.commands.output import clean
from mobyshell.core.clock import rfc3339
from mobyshell.core.events import Event
from mobyshell.widgets.resource import Column, ResourceSpec, Row

CALLS = "/runtime/call"
"""The topic of kernel calls, of which there are dozens a container."""

_ENDS = ("/delete", "/remove", "/paused", "/exit")


def event_health(row: Row) -> str:
    """bad: something failed; busy: something ended; off: a kernel call; good: all others."""
    if row["failed"]:
        return "bad"
    if row["topic"] == CALLS:
        return "off"
    return "busy" if row["topic"].endswith(_ENDS) else "good"


EVENTS = ResourceSpec(
    noun="event",
    key="n",
    columns=(
        Column("age", "AGE", 7, "age"), Column("topic", "TOPIC", 19, "state"),
        Column("namespace", "IN", 9, "text", 76), Column("id", "SUBJECT", 14, "id"),
        Column("said", "WHAT", 0),
    ),
    health=event_health,
    empty="Nothing has happened yet.",
    sort="age",
)  # fmt: skip


def event_row(number: int, event: Event, now_ns: int) -> dict[str, Any]:
    """An event as a row; `number` tells it from all others."""
    data = event.to_json()["data"]
    return {
        "n": number, "age": max(now_ns - event.time_ns, 0), "topic": event.topic,
        "namespace": event.namespace, "id": event.id, "said": payload_line(event.topic, data),
        "failed": event.topic == "/runtime/failed" or data.get("exit_status", 0) != 0,
    }  # fmt: skip


def event_text(event: Event) -> str:
    """All about one: who and when, what it means, and its payload."""
    meaning = MEANINGS[event.topic]
    whose = (
        "a topic of containerd's" if meaning.whose == CONTAINERD else "a topic of mobyshell's own"
    )
    lines = [
        f"{event.topic}  ({whose})",
        clean(f"{event.id} in namespace {event.namespace}, {rfc3339(event.time_ns)}"), "",
        meaning.means,
    ]  # fmt: skip
    if meaning.then:
        lines.append(f"What usually comes next: {meaning.then}")
    # ASCII only: a payload may hold what a terminal would obey
    payload = json.dumps(event.to_json()["data"], indent=2, ensure_ascii=True)
    return "\n".join([*lines, "", payload])


def json_lines(events: list[Event]) -> bytes:
    """Events as `events follow --json` prints them."""
    return "".join(f"{json.dumps(one.to_json())}\n" for one in events).encode()


def command_lines(query: str, chosen: Event | None) -> list[tuple[str, str]]:
    """(what, line) of what can be copied: commands for what the filter shows, and the event under the
    cursor."""
    ours, theirs = "mobyshell events follow --all-namespaces", "ctr events"
    if is_filter(query):
        ours += f" --filter {shlex.quote(query)}"
        theirs += f" {shlex.quote(query)}"
    elif query:
        ours += f" | grep -iF -- {shlex.quote(query)}"
        theirs += f" | grep -iF -- {shlex.quote(query)}"
    lines = [("mobyshell", ours), ("ctr", theirs)]
    if chosen is not None:
        lines.append(("event", json.dumps(chosen.to_json())))
        lines.append(("filter", _filter_of(chosen)))
    return lines


def _filter_of(event: Event) -> str:
    """A filter for events like this one."""
    known = [f"topic=={event.topic}", f"namespace=={_value(event.namespace)}"]
    if event.id:
        known.append(f"id=={_value(event.id)}")
    return ",".join(known)


def _value(text: str) -> str:
    return text if text.isprintable() and not set(text) & set(' ,"') else json.dumps(text)
