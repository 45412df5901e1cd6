"""Events keep their type through JSON."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields

import pytest

from mobyshell.core.events import PAYLOADS, Event, Payload
from mobyshell.core.store.events import STORE_PAYLOADS


def example(kind: type[Payload]) -> Payload:
    values: dict[str, object] = {
        "str": "text", "int": 7, "bool": True, "list[str]": ["a"], "dict[str, Any]": {"k": 1},
    }  # fmt: skip
    return kind(**{f.name: values[str(f.type)] for f in fields(kind) if f.default is MISSING})


@pytest.mark.parametrize("kind", PAYLOADS.values(), ids=lambda kind: kind.__name__)
def test_every_payload_survives_json(kind: type[Payload]) -> None:
    event = Event(1_700_000_000_000_000_001, "default", "k1", example(kind))
    assert Event.from_json(json.loads(json.dumps(event.to_json()))) == event


def test_topics_are_unique_and_every_payload_is_listed() -> None:
    listed = {kind.__name__ for kind in (*PAYLOADS.values(), *STORE_PAYLOADS.values())}
    # by name: `slots=True` makes a second class, and the first may still be around
    assert listed == {kind.__name__ for kind in Payload.__subclasses__()}
    assert not PAYLOADS.keys() & STORE_PAYLOADS.keys()
    assert all(topic.startswith("/") for topic in (*PAYLOADS, *STORE_PAYLOADS))


def test_an_unknown_topic_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Event.from_json({"time_ns": 1, "namespace": "n", "topic": "/no", "id": "x", "data": {}})
