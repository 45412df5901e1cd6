"""Events keep their type through JSON."""

from __future__ import annotations

import json

import pytest

from mobyshell.core.events import PAYLOADS, Event, Payload


def example(kind: type[Payload]) -> Payload:
    values: dict[str, object] = {
        "str": "text", "int": 7, "bool": True, "list[str]": ["a"], "dict[str, Any]": {"k": 1},
        "dict[str, str]": {"k": "v"},
    }  # fmt: skip
    return kind(
        **{name: values[type] for name, type in kind.__annotations__.items() if name != "topic"}
    )


@pytest.mark.parametrize("kind", PAYLOADS.values(), ids=lambda kind: kind.__name__)
def test_every_payload_survives_json(kind: type[Payload]) -> None:
    event = Event(1_700_000_000_000_000_001, "default", "k1", example(kind))
    assert Event.from_json(json.loads(json.dumps(event.to_json()))) == event


def test_topics_are_unique_and_every_payload_is_listed() -> None:
    listed = [kind.__name__ for kind in PAYLOADS.values()]
    # by name: `value` makes a second class, and the first may still be around
    assert set(listed) == {kind.__name__ for kind in Payload.__subclasses__()}
    assert len(listed) == len(set(listed))
    assert all(topic == kind.topic and topic.startswith("/") for topic, kind in PAYLOADS.items())


def test_an_unknown_topic_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Event.from_json({"time_ns": 1, "namespace": "n", "topic": "/no", "id": "x", "data": {}})
