"""Events in words: which are meant (containerd's filters), and what each says in a line."""

from __future__ import annotations

from mobyshell.core.errors import UsageError
from mobyshell.core.store.filters import parse_filters

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from mobyshell.core.events import Event
    from mobyshell.core.store.filters import Fields

OPERATORS = ("==", "!=", "~=")
"""What tells a filter of containerd's language from words to look for."""


def fields(event: Event) -> Fields:
    """What a filter can ask of an event: `topic`, `namespace`, `id`, and `event.…` for its payload,
    by containerd's rules (core/events, Envelope.Field). Numbers and truths are their text. What containerd
    has in the payload of tasks and containers, and is the subject here, is found under both names."""
    plain = {"topic": event.topic, "namespace": event.namespace, "id": event.id}

    def find(path: tuple[str, ...]) -> str | None:
        if path[0] != "event":
            return plain.get(".".join(path))
        data = event.to_json()["data"]
        if path[1:] == ("container_id",) and event.topic.startswith("/tasks/"):
            return event.id
        if path[1:] == ("id",) and "id" not in data:
            return data.get("exec_id") or event.id
        return _deep(data, path[1:])

    return find


def _deep(value: Any, path: tuple[str, ...]) -> str | None:
    if not path:
        return None if isinstance(value, dict | list) or value is None else _text(value)
    if not isinstance(value, dict):
        return None
    for size in range(len(path), 0, -1):  # the keys of labels hold dots
        key = ".".join(path[:size])
        if key in value:
            return _deep(value[key], path[size:])
    return None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def matcher(filters: Sequence[str]) -> Callable[[Event], bool]:
    """Whether an event is meant by one of `filters`; by none of none, every one is. UsageError."""
    chosen = parse_filters(filters)
    return lambda event: not filters or chosen.matches(fields(event))


def is_filter(text: str) -> bool:
    """Whether a text is of containerd's language, rather than words to look for."""
    return any(one in text for one in OPERATORS)


def check_filter(text: str) -> str:
    """What is wrong with a filter; "" if nothing is."""
    try:
        parse_filters([text])
    except UsageError as error:
        return error.message
    return ""


def said(event: Event) -> str:
    """The payload in a line."""
    return payload_line(event.topic, event.to_json()["data"])


def payload_line(topic: str, data: Mapping[str, Any]) -> str:
    """A payload in a line: a kernel call as a call, anything else as `key=value …`."""
    if topic == "/runtime/call":
        return f"{data['name']}({', '.join(data['args'])}) = {data['errno'] or data['result']}"
    return " ".join(f"{key}={value}" for key, value in data.items() if value not in ("", None))
