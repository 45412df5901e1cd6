"""Regular expressions: they say what Python's say, where both know them, and never take long."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import Unsupported, UsageError
from mobyshell.core.store.regex import LONGEST, compile_regex

ATOMS = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", "[a-b]", r"\w", r"\W", r"\d", r"\s", "^", "$", r"\b", r"\B",
     r"\.", "-", "|", ".*", "a+", "b?", "a{2}", "a{0,2}", "b{1,}", "a*?", "[]a]", "[-a]"]
)  # fmt: skip
EXPRESSIONS = st.recursive(
    st.lists(ATOMS, max_size=4).map("".join),
    lambda inner: st.builds(
        lambda body, times: f"(?:{body}){times}", inner, st.sampled_from(["", "*", "+", "?", "{2}"])
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, st.lists(st.text("ab1. -", max_size=8), min_size=1, max_size=5))
def test_they_match_what_pythons_match(pattern: str, texts: list[str]) -> None:
    ours = compile_regex(pattern)
    theirs = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    for text in texts:
        if not text and r"\B" in pattern:
            continue  # before 3.14 Python finds no \B in an empty text; Go does
        assert ours.search(text) == bool(theirs.search(text)), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("(?i)ALPINE", "alpine:3", True),
        ("(?i)[A-C]x", "bX", True),
        ("(?s)a.b", "a\nb", True),
        ("a.b", "a\nb", False),
        ("(?P<name>a)(?<other>b)", "ab", True),
        ("[[:digit:]]{3}", "a123", True),
        ("[[:^x]", "x", True),
        (r"\x41\n", "A\n", True),
        (r"\Aa\z", "a", True),
        ("a$", "a\n", False),
        ("x{,3}", "x{,3}", True),
        ("", "", True),
        (r"^\p{Greek}+$", "λόγος", True),
        ("^.$", "λ", True),
        ("^.$", "\ud800", True),
        ("(" * 60 + ")" * 60, "", True),
    ],
)
def test_what_gos_have_beside(pattern: str, text: str, found: bool) -> None:
    assert compile_regex(pattern).search(text) is found


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "[a", "a**", "*", "(?=a)", "(?<=a)", r"\1", r"\q", "[b-a]", "a{2,1}", "a{2000}",
     "(a{100}){100}", "[[:no:]]", "a" * (LONGEST + 1), "(" * LONGEST, r"\x4", "\\", "((a{30}){30}){30}"],
)  # fmt: skip
def test_what_is_refused(pattern: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError):
        compile_regex(pattern)
    assert capfd.readouterr() == ("", "")  # RE2 would log it


def test_without_the_library_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(Unsupported, match="google-re2"):
        compile_regex("a")


def test_nothing_loads_it_that_compares_only() -> None:
    code = (
        "import sys; from mobyshell.core.store.filters import parse_filters\n"
        "parse_filters(['name==a']); assert 're2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "(a*)*b", "a*a*a*a*a*a*a*b", "(.*)*x"])
def test_none_takes_long(pattern: str) -> None:
    """With a backtracking matcher each of these outlives the universe."""
    started = time.process_time()
    assert not compile_regex(pattern).search("a" * 4000 + "c")
    assert time.process_time() - started < 30
