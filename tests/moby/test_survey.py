"""What a list of images and the look into one are told, as values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.platform import Platform, host_platform
from mobyshell.core.store.differences import Difference, Way
from mobyshell.moby.client import Moby
from mobyshell.moby.look import FileRow
from mobyshell.moby.survey import Survey, layer_changes, marked
from tests.core.store import images


@pytest.fixture
def moby(tmp_path: Path) -> Iterator[Moby]:
    with Moby(tmp_path / "root", tmp_path / "state", "demo") as client:
        yield client


def row(path: str, kind: str = "file") -> FileRow:
    return FileRow(path, kind, 0o644, 1, 0, 0, 0)


def test_a_directory_shows_what_was_done_in_it_and_what_is_gone() -> None:
    changes = layer_changes([
        Difference(Way.ADDED, "/a/b/new"), Difference(Way.DELETED, "/a/old"),
        Difference(Way.CHANGED, "/z"),
    ])  # fmt: skip
    top = marked([row("/z"), row("/a", "directory"), row("/same")], changes, "/")
    assert [(one.file.path, one.way, one.touched) for one in top] == [
        ("/a", None, True), ("/same", None, False), ("/z", Way.CHANGED, False),
    ]  # fmt: skip
    inside = marked([row("/a/b", "directory")], changes, "/a")
    assert [(one.file.path, one.way) for one in inside] == [
        ("/a/b", None), ("/a/old", Way.DELETED),
    ]  # fmt: skip
    assert inside[0].touched


@pytest.mark.root
def test_a_list_tells_platforms_sizes_and_what_is_wrong(moby: Moby) -> None:
    space = moby.tenant.store
    here = host_platform()
    own = images.image(space.content, architecture=here.architecture,
                       config={"Entrypoint": ["sh"], "Cmd": ["-c", "true"]},
                       platform=Platform(architecture=here.architecture, os="linux"))  # fmt: skip
    other = Descriptor(media_type=images.MANIFEST, digest=Digest.of(b"elsewhere"), size=9,
                       platform=Platform(architecture="s390x", os="linux"))  # fmt: skip
    space.images.put("docker.io/library/both:latest", images.index(space.content, own, other))
    lost = Descriptor(media_type=images.MANIFEST, digest=Digest.of(b"lost"), size=4)
    space.images.put("odd name", lost)
    survey = Survey(lambda: moby.tenant)
    both, odd = sorted(survey.ls(), key=lambda one: one.name)
    assert (both.familiar, both.unpacked, both.args) == ("both", False, ("sh", "-c", "true"))
    assert both.platforms == (f"linux/{here.architecture}", "linux/s390x")
    assert both.size is not None
    assert both.size > 100
    assert (odd.familiar, odd.size, odd.unpacked) == ("odd name", None, None)
    assert odd.problem
    # what was read once is not read again, but what may change is looked at
    space.images.delete("odd name")
    assert survey.ls() == [both]
    moby.image("both").unpack()
    assert [one.unpacked for one in survey.ls()] == [True]


def test_what_an_image_is_made_of(moby: Moby) -> None:
    space = moby.tenant.store
    here = host_platform()
    own = images.image(space.content, architecture=here.architecture,
                       platform=Platform(architecture=here.architecture, os="linux"))  # fmt: skip
    statement = images.put(space.content, json.dumps({
        "schemaVersion": 2, "mediaType": images.MANIFEST,
        "config": images.plain(own) | {"mediaType": images.CONFIG}, "layers": [],
    }).encode(), images.MANIFEST, platform=Platform(architecture="unknown", os="unknown"))  # fmt: skip
    other = Descriptor(media_type=images.MANIFEST, digest=Digest.of(b"elsewhere"), size=9,
                       platform=Platform(architecture="s390x", os="linux"))  # fmt: skip
    space.images.put("x", images.index(space.content, own, other, statement))
    survey = Survey(lambda: moby.tenant)
    parts = survey.parts("x")
    assert [(one.depth, one.kind, one.present, one.mine) for one in parts] == [
        (0, "index", True, False), (1, "manifest", True, True), (2, "config", True, True),
        (2, "layer", True, True), (1, "manifest", False, False), (1, "attestation", True, False),
    ]  # fmt: skip
    with pytest.raises(NotFound):
        survey.parts("y")
