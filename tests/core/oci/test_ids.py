"""Container ids: one harmless component of a path, and a word on a command line."""

from __future__ import annotations

import os.path
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import ExitCode, UsageError
from mobyshell.core.oci import check_id
from mobyshell.core.oci.ids import LONGEST

ALLOWED = string.ascii_letters + string.digits + "_.+-"


@pytest.mark.parametrize(
    "id", ["a", "web-1", "A.b_c+d", "_x", "0", "0" * LONGEST, "a..b", "a-", "x."]
)
def test_good_ids(id: str) -> None:
    check_id(id)


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("", "it is empty"),
        (".", "format: ."),
        ("..", r"format: \.\."),
        ("../x", r"format: \.\./x"),
        ("a/b", "a/b"),
        ("/", "/"),
        ("a b", "a b"),
        ("-x", "-x"),
        ("--help", "--help"),
        (".x", ".x"),
        ("+x", "x"),
        ("ü", "ü"),
        ("٣", "٣"),
        ("a\0", r"a\?"),
        ("a\n", r"a\?"),
        ("\x1b[2J", r"\?\[2J"),
        ("\udc80", r"\?"),
        ("x" * (LONGEST + 1), f"longer than {LONGEST}"),
        ("x" * 10_000_000, f"longer than {LONGEST}"),
    ],
    ids=lambda one: ascii(one)[:20],
)
def test_bad_ids(id: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check_id(id)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 150
    assert caught.value.exit_code is ExitCode.USAGE


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=LONGEST) | st.text(ALLOWED, max_size=LONGEST))
def test_what_passes_is_one_component(id: str) -> None:
    try:
        check_id(id)
    except UsageError:
        assert not id or id[0] in ".-+" or not set(id) <= set(ALLOWED)
    else:
        assert set(id) <= set(ALLOWED)
        assert os.path.normpath(f"/run/{id}/state") == f"/run/{id}/state"
