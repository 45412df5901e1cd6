"""What is said of snapshots, as rows and texts."""

from __future__ import annotations

import pytest

from mobyshell.moby.snapshot_survey import Holder, Layer, Makeup, SnapshotInfo
from mobyshell.screens.snapshot_rows import (
    kept_by,
    kept_text,
    short,
    snapshot_health,
    snapshot_rows,
    usage_text,
)
from tests.fake_images import digest
from tests.fakes import SECOND

IMAGE, BOX = Holder("image", "docker.io/library/alpine:latest"), Holder("container", "web")


def info(key: str = "k", *holders: Holder, kind: str = "active") -> SnapshotInfo:
    return SnapshotInfo(key, kind, "", 0, 0, 4096, 1, holders, {"a\x1b": "b"})


@pytest.mark.parametrize(
    ("holders", "said"),
    [
        ((), ""), ((IMAGE,), "image alpine"), ((IMAGE, BOX), "container web +1"),
        ((BOX, Holder("snapshot", "k")), "its label +1"),
        ((Holder("snapshot", digest("x")),), f"snapshot {digest('x')[:19]}…"),
    ],
)  # fmt: skip
def test_the_nearest_holder_is_named(holders: tuple[Holder, ...], said: str) -> None:
    assert kept_by(info("k", *holders)) == said


def test_digests_are_short_and_names_are_whole() -> None:
    assert short(digest("a")) == digest("a")[:19] + "…"
    assert short("extract-123 sha256:abc") == "extract-123 sha256:abc"


def test_what_the_next_collection_takes_is_bad() -> None:
    rows = snapshot_rows([info(), info("k", BOX), info("k", BOX, kind="committed")], 5 * SECOND)
    assert [snapshot_health(row) for row in rows] == ["bad", "busy", "good"]
    assert rows[0]["age"] == 5 * SECOND


def test_of_many_ways_the_short_ones_are_told() -> None:
    ways = [
        f"container web-{number} (containers are kept) → this (snapshot)" for number in range(30)
    ]
    text = kept_text(info(), ways)
    assert "by 30 ways" in text
    assert text.count("→ this") == 20
    assert text.endswith("… and 10 longer ones")
    assert "Nothing needs it" in kept_text(info(), [])


def test_what_strangers_named_is_shown_and_not_obeyed() -> None:
    made = Makeup("overlayfs", "overlay", (Layer("k\x1b[2J", None, "/1/fs"),), ())
    text = usage_text(info("k\x1b[2J"), made, SECOND)
    assert "\x1b" not in text
    assert "shows        0B in 1 layer," in text
