"""An image looked into, layer by layer, with nothing mounted."""

from __future__ import annotations

import gzip
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.platform import host_platform
from mobyshell.core.store.differences import Difference, Way
from mobyshell.moby import look
from mobyshell.moby.client import Moby
from mobyshell.moby.image import Image
from tests.core.store import images

pytestmark = pytest.mark.root


@pytest.fixture
def moby(tmp_path: Path) -> Iterator[Moby]:
    with Moby(tmp_path / "root", tmp_path / "state", "demo") as client:
        yield client


def made(
    moby: Moby, layers: Sequence[Mapping[str, bytes]], history: Sequence[Mapping[str, Any]] = ()
) -> Image:
    content = moby.tenant.store.content
    tars = [images.layer(files) for files in layers]
    blobs = [images.put(content, gzip.compress(one, mtime=0), images.LAYER) for one in tars]
    config = images.put(content, json.dumps({
        "architecture": host_platform().architecture, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(one) for one in tars]},
        **({"history": list(history)} if history else {}),
    }).encode(), images.CONFIG)  # fmt: skip
    target = images.put_json(content, {
        "schemaVersion": 2, "mediaType": images.MANIFEST, "config": images.plain(config),
        "layers": [images.plain(one) for one in blobs],
    }, images.MANIFEST)  # fmt: skip
    moby.tenant.store.images.put("docker.io/library/made:latest", target)
    return moby.image("made")


THREE: Sequence[Mapping[str, bytes]] = (
    {"a": b"12345", "d/x": b"123", "d/y": b"1", "keep": b"!"},
    {"a": b"123456789", "d/.wh.x": b""},
    {"new": b"n", ".wh.d": b""},
)


def test_what_each_layer_did(moby: Moby) -> None:
    image = made(moby, THREE)
    image.unpack()
    told = [
        [
            (str(one.way), one.path)
            for one in look.changes(image, number)
            if one.path != "/d" or number
        ]
        for number in range(3)
    ]
    assert told[0] == [("added", "/a"), ("added", "/d/x"), ("added", "/d/y"), ("added", "/keep")]
    assert ("changed", "/a") in told[1]
    assert ("deleted", "/d/x") in told[1]
    assert told[2] == [("deleted", "/d"), ("added", "/new")]


def test_files_say_of_which_layer_they_are(moby: Moby) -> None:
    image = made(moby, THREE)
    image.unpack()
    assert {row.path: (row.layer, row.size) for row in look.files(image)} == {
        "/a": (1, 9), "/keep": (0, 1), "/new": (2, 1),
    }  # fmt: skip
    assert [row.path for row in look.files(image, "/d", layer=1)] == ["/d/y"]
    assert look.content(image, "/a") == b"123456789"
    assert look.content(image, "/a", layer=0) == b"12345"
    with pytest.raises(NotFound):
        look.content(image, "/d/y")
    with pytest.raises(NotFound, match="no layer 3"):
        look.files(image, layer=3)
    with pytest.raises(UsageError):
        look.files(image, "/a")


def test_what_is_wasted(moby: Moby) -> None:
    image = made(moby, THREE)
    image.unpack()
    assert [(one.path, one.copies, one.bytes) for one in look.wasted(image)] == [
        ("/a", 2, 5), ("/d/x", 1, 3), ("/d/y", 1, 1),
    ]  # fmt: skip


def test_who_changes_many_files_compares_none_with_all_others(
    moby: Moby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six thousand took five seconds, and twice as many four times that."""
    compared: list[str] = []

    class Name(str):
        def startswith(self, *how: Any) -> bool:
            compared.append(self)
            return super().startswith(*how)

    def changes(image: Image, layer: int, **_: Any) -> list[Difference]:
        way = Way.ADDED if layer == 0 else Way.CHANGED
        return [Difference(way, Name(f"/f{number}"), 10, stat.S_IFREG) for number in range(100)]

    image = made(moby, THREE)
    monkeypatch.setattr(look, "changes", changes)
    found = look.wasted(image)
    assert len(found) == 100
    assert {(one.copies, one.bytes) for one in found} == {(3, 20)}
    assert compared == []


def test_history_is_matched_with_layers(moby: Moby) -> None:
    steps: list[dict[str, Any]] = [
        {"created": "2026-01-01T00:00:00Z", "created_by": "ADD a"},
        {"created_by": "ENV x=y", "empty_layer": True},
        {"created_by": "RUN b", "comment": "second"},
    ]
    image = made(moby, THREE, steps)
    found = look.history(image)
    assert [(one.number, one.created_by) for one in found] == [
        (0, "ADD a"), (-1, "ENV x=y"), (1, "RUN b"), (2, ""),
    ]  # fmt: skip
    assert [one.chain_id for one in found if one.number >= 0] == list(image.resolved.chain_ids)
    assert [one.number for one in look.history(made(moby, THREE[:2]))] == [0, 1]


def test_what_is_packed_cannot_be_looked_into(moby: Moby) -> None:
    image = made(moby, THREE)
    with pytest.raises(NotFound, match="not unpacked"):
        look.files(image)
