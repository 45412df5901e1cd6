"""containerd's filter language, after the grammar in its pkg/filters/parser.go."""

from __future__ import annotations

import pytest

from mobyshell.core.errors import UsageError
from mobyshell.core.store.filters import mapping_fields, parse_filters

THING = mapping_fields(
    {"name": "docker.io/library/alpine:3.20", "target.digest": "sha256:00", "size": "12"},
    labels={"a.b/c": "one", "empty": "", "quote": 'say "x"', "v": "1,2"},
)


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        ([], True),
        ([""], True),
        (["name"], True),
        (["nothing"], False),
        (["name==docker.io/library/alpine:3.20"], True),
        (["name == docker.io/library/alpine:3.20"], True),
        (["name==alpine"], False),
        (["name!=alpine"], True),
        (["nothing!=x"], True),
        (["name~=alpine"], True),
        (["name~=^alpine"], False),
        (["name~=/^docker.io\\/library/"], True),
        (["name~=|^docker.io/library|"], True),
        (["target.digest==sha256:00"], True),
        (['labels."a.b/c"==one'], True),
        (['labels."a.b/c"'], True),
        (["labels.empty"], True),
        (['labels.empty==""'], True),
        (["labels.v==1"], False),
        (['labels.v=="1,2"'], True),
        (['labels.quote=="say \\"x\\""'], True),
        (['labels.quote=="\\x73\\u0061\\171 \\"x\\""'], True),
        (["labels"], False),
        (["name~=alpine,size==12"], True),
        (["name~=alpine,size==13"], False),
        (["name~=alpine, size==12"], True),
        (["size==13", "size==12"], True),
        (["size==13", "size==14"], False),
    ],
)
def test_what_is_meant(filters: list[str], meant: bool) -> None:
    assert parse_filters(filters).matches(THING) is meant


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("=", 1, "the name of a field"),
        ("name=", 5, "one of"),
        ("name=x", 5, "one of"),
        ("name==", 7, "a value"),
        ("name==a,", 9, "the name of a field"),
        ("name==a b", 9, "a comma or the end"),
        ("name.==a", 6, "the name of a field"),
        ("a b", 3, "one of"),
        ('name=="a', 7, "a quoted text"),
        ('name=="\\q"', 9, "an escape"),
        ('name=="\\ud800"', 9, "an escape"),
        ('name=="\\x4"', 9, "an escape"),
        ("name~=(", 7, "a regular expression"),
        ("name~=a**", 7, "a regular expression"),
        ("1name==a", 1, "the name of a field"),
        ("näme==a", 2, "one of"),
    ],
)
def test_errors_say_where(text: str, position: int, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_filters([text])
    assert f"character {position}: expected {expected}" in caught.value.message
    assert caught.value.message.isprintable()


def test_no_filter_is_too_long() -> None:
    with pytest.raises(UsageError, match="too long"):
        parse_filters(["a" * 100_000])
