"""Frames: what is written is read, however it is cut; nonsense is refused, never believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import UsageError
from mobyshell.core.tasks import wire

frames = st.lists(st.tuples(st.integers(0, wire.RING), st.binary(max_size=300)), max_size=12)


@given(frames, st.lists(st.integers(1, 97), min_size=1))
def test_frames_survive_any_cutting(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(wire.frame(kind, payload) for kind, payload in sent)
    decoder, received, turn = wire.Decoder(), [], 0
    while data:
        size = cuts[turn % len(cuts)]
        received += list(decoder.feed(data[:size]))
        data, turn = data[size:], turn + 1
    assert received == sent


@given(st.binary(max_size=400))
def test_nonsense_is_refused_or_waits_for_more(data: bytes) -> None:
    decoder = wire.Decoder()
    try:
        for kind, payload in decoder.feed(data):
            assert 0 <= kind <= wire.RING
            assert len(payload) <= wire.MAX_MESSAGE
    except UsageError as error:
        assert "malformed" in error.message


@pytest.mark.parametrize(
    "header",
    [
        wire.HEADER.pack(wire.MAX_MESSAGE + 1, wire.MESSAGE),
        wire.HEADER.pack(wire.MAX_CHUNK + 1, wire.STDIN),
        wire.HEADER.pack(0, wire.RING + 1),
    ],
)
def test_a_frame_that_is_too_big_or_of_no_kind_is_refused_at_its_header(header: bytes) -> None:
    with pytest.raises(UsageError):
        list(wire.Decoder().feed(header))


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_a_message_is_a_json_object(payload: bytes) -> None:
    with pytest.raises(UsageError):
        wire.parse_message(payload)


def test_messages_round_trip() -> None:
    document = {"id": 1, "verb": "create", "args": {"x": "ü\0"}}
    ((kind, payload),) = wire.Decoder().feed(wire.message(document))
    assert kind == wire.MESSAGE
    assert wire.parse_message(payload) == document == json.loads(payload)
