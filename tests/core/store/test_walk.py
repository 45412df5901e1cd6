"""From an image's target to what is run of it, when all is there, and when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidImage, NotFound, StoreDamaged
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.platform import matcher, parse_platform
from mobyshell.core.store.content.content import Content
from mobyshell.core.store.store import Store
from mobyshell.core.store.walk import children, everything, missing, resolve, variants
from tests.core.store import images

AMD64, ARM64 = (parse_platform(f"linux/{name}") for name in ("amd64", "arm64"))


@pytest.fixture
def content(tmp_path: Path) -> Iterator[Content]:
    with Store.open(tmp_path / "store") as store:
        yield store.namespace("test").content


def two(content: Content) -> Descriptor:
    return images.index(
        content,
        images.image(content, [{"a": b"arm"}], architecture="arm64", platform=ARM64),
        images.image(content, [{"a": b"amd"}, {"b": b"amd"}], platform=AMD64),
    )


def test_the_platform_decides(content: Content) -> None:
    target = two(content)
    found = resolve(content, target, matcher(AMD64))
    assert found.config.architecture == "amd64"
    assert len(found.layers) == 2
    assert found.chain_id == found.chain_ids[1] != found.config.diff_ids[1]
    assert missing(content, found) == ()
    assert resolve(content, target, matcher(ARM64)).config.architecture == "arm64"
    with pytest.raises(NotFound, match="riscv64") as caught:
        resolve(content, target, matcher(parse_platform("linux/riscv64")))
    assert "linux/amd64" in caught.value.hint


def test_of_a_sparse_index_what_is_here_is_enough(content: Content) -> None:
    target = two(content)
    arm = resolve(content, target, matcher(ARM64))
    for one in (arm.descriptor, arm.manifest.config, *arm.layers):
        content.delete(one.digest)
    assert resolve(content, target, matcher(AMD64)).config.architecture == "amd64"
    assert [(str(one.platform), one.present) for one in variants(content, target)] == [
        ("linux/arm64", False), ("linux/amd64", True),
    ]  # fmt: skip
    with pytest.raises(NotFound, match=str(arm.descriptor.digest)) as caught:
        resolve(content, target, matcher(ARM64))
    assert "the image for linux/arm64" in caught.value.message
    assert "--platform linux/arm64" in caught.value.hint


def test_everything_is_met_once_parents_first(content: Content) -> None:
    target = two(content)
    found = [one.digest for one in everything(content, target)]
    assert len(found) == len(set(found)) == 1 + 2 + 2 + 3
    assert found[0] == target.digest
    for one in everything(content, target):
        for child in children(content, one):
            assert found.index(one.digest) < found.index(child.digest)


def test_indexes_nested_without_end_are_an_error(content: Content) -> None:
    target = images.image(content, platform=AMD64)
    for _ in range(7):
        target = images.index(content, replace(target, platform=None))
    with pytest.raises(InvalidImage, match="index within"):
        resolve(content, target, matcher(AMD64))
    with pytest.raises(InvalidImage, match="too deep"):
        list(everything(content, target))


def test_another_artifact_is_no_image(content: Content) -> None:
    config = images.put(content, b"{}", "application/vnd.oci.empty.v1+json")
    document = {"schemaVersion": 2, "mediaType": images.MANIFEST, "config": images.plain(config),
                "artifactType": "text/spdx", "layers": []}  # fmt: skip
    target = images.put_json(content, document, images.MANIFEST)
    with pytest.raises(InvalidImage, match="text/spdx"):
        resolve(content, target)


def test_sizes_and_bytes_that_are_not_what_was_said(content: Content) -> None:
    target = images.image(content, platform=AMD64)
    with pytest.raises(InvalidImage, match="was said to have"):
        resolve(content, replace(target, size=target.size + 1), matcher(AMD64))
    place = content._blobs.path(target.digest)
    data = bytearray(place.read_bytes())
    data[-2] ^= 1
    place.chmod(0o644)
    place.write_bytes(data)
    with pytest.raises(StoreDamaged, match=str(target.digest)):
        resolve(content, target, matcher(AMD64))


def test_layers_and_configuration_must_agree(content: Content) -> None:
    found = resolve(content, images.image(content, platform=AMD64), matcher(AMD64))
    document = {
        "schemaVersion": 2, "mediaType": images.MANIFEST,
        "config": images.plain(found.manifest.config), "layers": [],
    }  # fmt: skip
    with pytest.raises(InvalidImage, match="layers"):
        resolve(content, images.put_json(content, document, images.MANIFEST), matcher(AMD64))
