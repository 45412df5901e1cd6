"""Pull: what is needed comes, whole and once, children before parents."""

from __future__ import annotations

import pytest

from mobyshell.core.errors import InvalidImage, NotFound
from mobyshell.core.oci import media_types as m
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.image_spec import parse_manifest
from mobyshell.core.oci.platform import matcher, parse_platform
from mobyshell.core.registry import Client
from mobyshell.core.registry.manifests import resolve
from mobyshell.core.registry.pull import DEEPEST, pull
from tests.core.registry.conftest import Listener, repository, stock
from tests.core.registry.images import document, everything, image, index
from tests.core.registry.scripted import Registry, Request
from tests.core.registry.shelf import Shelf

AMD64 = matcher(parse_platform("linux/amd64"))


@pytest.mark.parametrize("docker", [False, True])
def test_one_image(
    registry: Registry, client: Client, shelf: Shelf, listener: Listener, docker: bool
) -> None:
    there = Shelf()
    top = image(there, docker=docker)
    stock(registry, there, top)
    found = pull(repository(client, registry, progress=listener), shelf, AMD64)
    assert (found.digest, found.size, found.media_type) == (top.digest, top.size, top.media_type)
    assert shelf.blobs == {digest: there.blobs[digest] for digest in everything(there, top)}
    assert shelf.order[-1] == top.digest
    manifest = parse_manifest(shelf.blobs[top.digest])
    assert shelf.children[top.digest] == manifest.children
    assert shelf.sources[manifest.layers[0].digest] == {f"{registry.host}/a/b"}
    assert listener.kinds()[0] == "Resolved"
    assert listener.kinds().count("TransferDone") >= 2
    pull(repository(client, registry, progress=listener), shelf, AMD64)
    assert len(registry.asked("GET", "/blobs/")) == 3, "what is there is not fetched again"
    assert len(registry.asked("GET", "/manifests/")) == 1


def test_of_an_index_what_the_machine_runs(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    there = Shelf()
    mine, other = image(there, seed=1), image(there, "linux/arm64", seed=2)
    about = {"vnd.docker.reference.type": "attestation-manifest"}
    attestation = document(
        there, m.OCI_MANIFEST, {"config": None, "layers": []}, annotations=about,
        platform=parse_platform("unknown/unknown"),
    )  # fmt: skip
    top = index(there, attestation, other, mine)
    stock(registry, there, top)
    pull(repository(client, registry), shelf, AMD64)
    assert set(shelf.blobs) == {top.digest, *everything(there, mine)}
    assert len(shelf.children[top.digest]) == 3, "also those that are not here"
    with pytest.raises(NotFound) as caught:
        pull(repository(client, registry), shelf, matcher(parse_platform("linux/s390x")))
    assert caught.value.hint == "there are: linux/arm64, linux/amd64"


def test_all_platforms(registry: Registry, client: Client, shelf: Shelf) -> None:
    there = Shelf()
    inner = index(there, image(there, "linux/arm/v7", seed=3))
    top = index(there, image(there, seed=1), image(there, "linux/arm64", seed=2), inner)
    stock(registry, there, top)
    pull(repository(client, registry), shelf)
    assert set(shelf.blobs) == everything(there, top)


def test_the_platform_may_stand_in_the_configuration_only(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    there = Shelf()
    other = image(there, "linux/arm64", seed=2, labelled=False)
    mine = image(there, seed=1, labelled=False)
    top = index(there, other, index(there, mine))
    stock(registry, there, top)
    pull(repository(client, registry), shelf, AMD64)
    assert everything(there, mine) < set(shelf.blobs)
    assert other.digest not in shelf.blobs


def test_an_image_of_another_platform_is_told(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    there = Shelf()
    stock(registry, there, image(there, "linux/arm64"))
    with pytest.raises(NotFound, match="is not for linux/amd64") as caught:
        pull(repository(client, registry), shelf, AMD64)
    assert caught.value.hint == "it is for linux/arm64"


def test_by_digest(registry: Registry, client: Client, shelf: Shelf) -> None:
    there = Shelf()
    top = image(there)
    stock(registry, there, top)
    found = pull(repository(client, registry, f"a/b:other@{top.digest}"), shelf)
    assert found.digest == top.digest
    assert not registry.asked("HEAD", "other")


def test_what_a_pull_left_is_taken_up(registry: Registry, client: Client, shelf: Shelf) -> None:
    there = Shelf()
    top = image(there, sizes=(500_000,))
    stock(registry, there, top)
    layer = parse_manifest(there.blobs[top.digest]).layers[0]
    shelf.partial[layer.digest] = bytearray(there.blobs[layer.digest][:400_000])
    pull(repository(client, registry), shelf)
    (asked,) = registry.asked("GET", f"blobs/{layer.digest}")
    assert asked.headers["range"] == "bytes=400000-"
    assert shelf.blobs[layer.digest] == there.blobs[layer.digest]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_wrong_beginning_is_fetched_anew(
    registry: Registry, client: Client, shelf: Shelf, ranges: bool
) -> None:
    registry.ranges = ranges
    there = Shelf()
    top = image(there, sizes=(500_000,))
    stock(registry, there, top)
    layer = parse_manifest(there.blobs[top.digest]).layers[0]
    shelf.partial[layer.digest] = bytearray(b"x" * 400_000)
    pull(repository(client, registry), shelf)
    assert shelf.blobs[layer.digest] == there.blobs[layer.digest]
    assert len(registry.asked("GET", f"blobs/{layer.digest}")) == 2


def test_a_wrong_beginning_of_a_manifest(registry: Registry, client: Client, shelf: Shelf) -> None:
    there = Shelf()
    top = image(there)
    stock(registry, there, top)
    shelf.partial[top.digest] = bytearray(b"x" * 10)
    pull(repository(client, registry), shelf)
    assert shelf.blobs[top.digest] == there.blobs[top.digest]


def test_empty_blobs_and_layers_that_come_twice(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    there = Shelf()
    empty, twice = there.add(b""), there.add(b"twice")
    layers = [
        {"mediaType": m.OCI_LAYER, "digest": digest, "size": size}
        for digest, size in ((empty, 0), (twice, 5), (twice, 5))
    ]
    plain = image(there, sizes=(10,))
    members = parse_manifest(there.blobs[plain.digest])
    from mobyshell.core.oci.image_spec import image_to_json

    top = document(
        there, m.OCI_MANIFEST, {"config": image_to_json(members.config), "layers": layers}
    )
    stock(registry, there, top)
    pull(repository(client, registry), shelf)
    assert shelf.blobs[empty] == b""
    assert len(registry.asked("GET", twice)) == 1


def test_indexes_without_end(registry: Registry, client: Client, shelf: Shelf) -> None:
    there = Shelf()
    top = index(there, image(there, labelled=False))
    for _ in range(DEEPEST - 1):
        top = index(there, top)
    stock(registry, there, top, tag="deep")
    pull(repository(client, registry, "a/b:deep"), shelf, AMD64)
    stock(registry, there, index(there, top), tag="deeper")
    with pytest.raises(InvalidImage, match="an index within"):
        pull(repository(client, registry, "a/b:deeper"), Shelf(), AMD64)


def test_a_registry_that_knows_no_head(registry: Registry, client: Client) -> None:
    there = Shelf()
    top = image(there)
    stock(registry, there, top)
    registry.on("manifests", "HEAD")(lambda request: request.answer(405))
    assert resolve(repository(client, registry)).digest == top.digest


def test_a_registry_that_says_little(registry: Registry, client: Client) -> None:
    there = Shelf()
    top = image(there)
    stock(registry, there, top)

    @registry.on("manifests/1")
    def vague(request: Request) -> bool:
        return request.answer(
            200, there.blobs[top.digest], {"Content-Type": "text/plain; charset=utf-8"}
        )

    found = resolve(repository(client, registry))
    assert found == Descriptor(media_type=m.OCI_MANIFEST, digest=top.digest, size=top.size)
