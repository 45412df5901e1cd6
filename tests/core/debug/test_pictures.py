"""A profile as picture, as speedscope's file, as folded stacks: right sums, and harmless names."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from mobyshell.core.debug.folded import folded
from mobyshell.core.debug.request import document
from mobyshell.core.debug.speedscope import SCHEMA, speedscope
from mobyshell.core.debug.svg import WIDTH, draw
from mobyshell.core.debug.tree import grow, totals
from mobyshell.core.debug.values import Frame, Profile, Stack, from_wire, to_wire
from mobyshell.core.errors import InvalidSpec

MS = 1_000_000
SVG = "{http://www.w3.org/2000/svg}"
MAIN = Frame("main", "/x/mobyshell/__main__.py", 1)
BUSY = Frame("busy", "/x/mobyshell/busy.py", 7)
IDLE = Frame("idle", "/usr/lib/python3.11/idle.py", 9)
PROFILE = Profile(
    "cpu", 2.0, 100,
    (Stack("main", (MAIN, BUSY), 750 * MS), Stack("main", (MAIN, IDLE), 200 * MS),
     Stack("main", (MAIN,), 50 * MS)), pid=7,
)  # fmt: skip
HOSTILE = (
    "</title><script>alert(1)</script>", "]]></script>", "a\" onclick=\"alert(1)", "\x1b[31m\x00\n",
    "&lt;&#0;", "\u202e\ud7ff\ufffe", "';alert(1)//",
)  # fmt: skip


def test_the_widest_frame_is_the_busiest_and_all_is_the_sum() -> None:
    root = grow(PROFILE)
    assert root.ns == 1000 * MS
    assert [node.ns for node in root.children[MAIN].children.values()] == [750 * MS, 200 * MS]
    assert root.children[MAIN].own_ns == 50 * MS
    assert [(one.frame.name, one.own_ns, one.ns) for one in totals(PROFILE)] == [
        ("busy", 750 * MS, 750 * MS), ("idle", 200 * MS, 200 * MS), ("main", 50 * MS, 1000 * MS),
    ]  # fmt: skip


def test_recursion_counts_once_and_threads_stand_apart() -> None:
    twice = Profile("wall", 1, 1, (Stack("a", (BUSY, BUSY), MS), Stack("b", (BUSY,), MS)))
    assert [(one.own_ns, one.ns) for one in totals(twice)] == [(2 * MS, 2 * MS)]
    assert [frame.name for frame in grow(twice).children] == ["a", "b"]


def frames_of(picture: str) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(picture)
    return {one.get("data-n", ""): one for one in root.iter(f"{SVG}g")}


def test_the_picture_has_a_frame_each_as_wide_as_its_time() -> None:
    frames = frames_of(draw(PROFILE))
    assert set(frames) == {"all", "main", "busy", "idle"}
    assert float(frames["busy"].get("data-w", "")) == 0.75
    boxes = {name: one.find(f"{SVG}rect") for name, one in frames.items()}
    left = {name: float(box.get("x", "")) for name, box in boxes.items() if box is not None}
    wide = {name: float(box.get("width", "")) for name, box in boxes.items() if box is not None}
    assert wide["busy"] > wide["idle"] > 0
    assert left["busy"] + wide["busy"] == pytest.approx(left["idle"], abs=0.02)
    assert max(left[name] + wide[name] for name in left) < WIDTH
    title = frames["busy"].find(f"{SVG}title")
    assert title is not None
    assert title.text == "busy\nmobyshell/busy.py:7\n750.0 ms (75.0%), itself 750.0 ms"


def test_the_same_profile_is_the_same_picture_and_a_file_keeps_its_colour() -> None:
    assert draw(PROFILE) == draw(from_wire(to_wire(PROFILE)))
    other = Profile("cpu", 1, 1, (Stack("main", (BUSY,), MS),))

    def colour(picture: str) -> str | None:
        box = frames_of(picture)["busy"].find(f"{SVG}rect")
        return None if box is None else box.get("fill")

    assert colour(draw(other)) == colour(draw(PROFILE))


def test_no_time_is_a_picture_too() -> None:
    assert "no time at all" in draw(Profile("cpu", 1, 0, ()))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_words_and_nothing_else(name: str) -> None:
    frame = Frame(name, f"/{name}", 1)
    profile = Profile("cpu", 1, 1, (Stack(name, (frame,), MS), Stack("b", (frame,), MS)))
    picture = draw(profile, name)
    root = ElementTree.fromstring(picture)
    assert len([one for one in root.iter() if one.tag == f"{SVG}script"]) == 1
    assert {one.tag for one in root.iter()} == {
        f"{SVG}{tag}" for tag in ("svg", "style", "rect", "text", "g", "title", "script")
    }
    assert not [key for one in root.iter() for key in one.attrib if key.startswith("on")]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", picture)
    assert folded(profile).count("\n") == 2
    json.loads(document(speedscope(profile)))


def check_speedscope(value: dict[str, Any]) -> None:
    """What the schema demands: https://www.speedscope.app/file-format-schema.json."""
    assert value["$schema"] == SCHEMA
    assert {"shared", "profiles"} <= set(value)
    frames = value["shared"]["frames"]
    for frame in frames:
        assert set(frame) <= {"name", "file", "line", "col"}
        assert isinstance(frame["name"], str)
    assert 0 <= value["activeProfileIndex"] < len(value["profiles"])
    for profile in value["profiles"]:
        assert set(profile) == {
            "type", "name", "unit", "startValue", "endValue", "samples", "weights",
        }  # fmt: skip
        assert profile["type"] == "sampled"
        assert profile["unit"] in (
            "none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes",
        )  # fmt: skip
        assert len(profile["samples"]) == len(profile["weights"])
        assert sum(profile["weights"]) == profile["endValue"] - profile["startValue"]
        assert all(0 <= one < len(frames) for sample in profile["samples"] for one in sample)


def test_speedscope_gets_what_its_schema_demands() -> None:
    threads = Profile("wall", 1, 9, (*PROFILE.stacks, Stack("other", (IDLE,), MS)))
    for profile in (PROFILE, threads, Profile("cpu", 1, 0, ())):
        check_speedscope(json.loads(document(speedscope(profile))))
    assert [one["name"] for one in speedscope(threads)["profiles"]] == ["main", "other"]


def test_folded_stacks_are_a_line_each() -> None:
    assert folded(PROFILE).splitlines()[0] == (
        "main;main (mobyshell/__main__.py:1);busy (mobyshell/busy.py:7) 750000"
    )


@pytest.mark.parametrize(
    "change",
    [{"frames": [["a", "b"]]}, {"stacks": [{"label": "a", "ns": 1, "frames": [99]}]}, {"pid": None},
     {"stacks": [{"label": "a", "ns": 1, "frames": [-1]}]}, {"stacks": 7}, {"seconds": "long"}],
)  # fmt: skip
def test_a_profile_that_is_none_is_refused(change: dict[str, Any]) -> None:
    assert from_wire(to_wire(PROFILE)) == PROFILE
    with pytest.raises(InvalidSpec):
        from_wire(to_wire(PROFILE) | change)
    with pytest.raises(InvalidSpec):
        from_wire([])
