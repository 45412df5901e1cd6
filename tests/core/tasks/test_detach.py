"""The detach filter: finds the sequence however it is cut, and changes nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import UsageError
from mobyshell.core.tasks.detach import DetachFilter, parse_keys

P, Q = b"\x10", b"\x11"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", P + Q), ("", b""), ("a", b"a"), ("ctrl-@", b"\0"), ("CTRL-A,b", b"\x01b"),
        ("ctrl-[", b"\x1b"),
    ],
)  # fmt: skip
def test_keys_are_written_as_docker_writes_them(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ctrl-ab", "esc", ",", "ä"])
def test_unknown_keys_are_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_keys(text)


def test_the_sequence_detaches_and_is_not_sent() -> None:
    assert DetachFilter().feed(b"ls\n" + P + Q + b"never") == (b"ls\n", True)


def test_the_sequence_may_come_in_two_reads() -> None:
    keys = DetachFilter()
    assert keys.feed(b"a" + P) == (b"a", False)
    assert keys.feed(Q) == (b"", True)


def test_a_begun_sequence_is_passed_on_when_it_goes_on_otherwise() -> None:
    keys = DetachFilter()
    assert keys.feed(P) == (b"", False)
    assert keys.feed(b"x") == (P + b"x", False)
    assert keys.feed(P + P + Q) == (P, True)


def test_a_sequence_that_repeats_itself_is_found_in_a_longer_run() -> None:
    assert DetachFilter("a,a,b").feed(b"aaab") == (b"a", True)


def test_without_keys_nothing_detaches() -> None:
    assert DetachFilter("").feed(P + Q) == (P + Q, False)


@given(st.lists(st.sampled_from([P, Q, b"x", b"ab"]), max_size=30), st.integers(1, 5))
def test_what_is_sent_is_what_was_typed_before_the_sequence(typed: list[bytes], cut: int) -> None:
    text = b"".join(typed)
    before, found, _ = text.partition(P + Q)
    keys, sent, detached = DetachFilter(), b"", False
    for at in range(0, len(text), cut):
        out, detached = keys.feed(text[at : at + cut])
        sent += out
        if detached:
            break
    assert detached is bool(found)
    if detached:
        assert sent == before
    else:
        assert sent in (text, text[:-1])  # a last ctrl-p is held back
