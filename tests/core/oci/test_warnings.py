"""What is allowed but not meant so: a warning each, and never a problem."""

# ruff: noqa: E501 (a table with a line a row)

from __future__ import annotations

import json
from typing import Any

import pytest

from mobyshell.core.oci import check, parse_spec, warnings_of
from mobyshell.core.oci.kinds import MOST
from tests.core.oci.documents import default, full, locate, put

FUSE = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}

WARNED: list[tuple[str, Any, str, str, str]] = [
    ("mounts[0].destination", "proc", "", '"proc"', "deprecated and taken as relative to /"),
    ("process.capabilities.bounding[0]", "CAP_MAGIC", "", '"CAP_MAGIC"', "ignored"),
    ("process.capabilities.effective[0]", "cap_kill", "", '"cap_kill"', "ignored"),
    ("process.capabilities.ambient[0]", "CAP_CHOWN", "", '"CAP_CHOWN"', "permitted and inheritable"),
    ("process.capabilities.inheritable", None, "process.capabilities.ambient[0]", '"CAP_KILL"', "not raised"),
    ("process", None, "", "nothing", "can only be created"),
    ("linux.devices", [FUSE, {**FUSE, "type": "u", "path": "/f"}], "linux.devices[1]", "the same numbers as [0]", "once"),
]  # fmt: skip


def warned(document: Any) -> list[tuple[str, str, str]]:
    assert check(document) == []
    found = warnings_of(parse_spec(json.dumps(document)))
    assert all(str(one).isprintable() and one.section.startswith("config") for one in found)
    return [(one.path, one.found, one.allowed) for one in found]


USUAL = warned(full())


def test_what_is_old_or_without_effect() -> None:
    assert [(path, found) for path, found, _ in USUAL] == [
        ("hooks.prestart", "1 hook"),
        ("linux.personality.flags", "an array of 1 element"),
    ]


@pytest.mark.parametrize(("place", "value", "path", "shown", "words"), WARNED)
def test_a_warning(place: str, value: Any, path: str, shown: str, words: str) -> None:
    found = [one for one in warned(put(full(), locate(place), value)) if one not in USUAL]
    assert [one[:2] for one in found] == [(path or place, shown)]
    assert words in found[0][2]


def test_two_pipes_are_two() -> None:
    pipes = [{"path": "/a", "type": "p"}, {"path": "/b", "type": "p"}]
    assert warned(put(full(), locate("linux.devices"), pipes)) == USUAL


def test_a_block_device_is_not_a_character_device() -> None:
    both = [FUSE, {**FUSE, "type": "b"}]
    assert warned(put(full(), locate("linux.devices"), both)) == USUAL


def test_warnings_end_somewhere() -> None:
    document = default()
    document["process"]["capabilities"]["bounding"] = ["X"] * 100_000
    assert len(warned(document)) == MOST
