"""Push: what the registry lacks is sent, children before parents; uploads in one piece and in several."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mobyshell.core.errors import InvalidImage, NotFound, RegistryFailed
from mobyshell.core.oci import media_types as m
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import image_to_json, parse_index, parse_manifest
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.registry import Client
from mobyshell.core.registry import blobs as registry_blobs
from mobyshell.core.registry.manifests import delete, resolve
from mobyshell.core.registry.push import push
from mobyshell.core.registry.referrers import delete as delete_referrer
from mobyshell.core.registry.referrers import referrers, tag_of
from mobyshell.core.registry.tags import tags
from tests.core.registry.conftest import Listener, repository
from tests.core.registry.images import document, everything, image, index
from tests.core.registry.scripted import Registry, Request
from tests.core.registry.shelf import Shelf


def has_all(registry: Registry, shelf: Shelf, digests: set[Digest]) -> bool:
    there = {digest: content for (_, digest), content in registry.blobs.items()}
    there |= {name: content for (_, name), (_, content) in registry.manifests.items()}
    return all(there.get(one) == shelf.blobs[one] for one in digests)


def test_an_image(registry: Registry, client: Client, shelf: Shelf, listener: Listener) -> None:
    top = image(shelf)
    push(repository(client, registry, progress=listener), shelf, top)
    assert has_all(registry, shelf, everything(shelf, top))
    assert registry.manifests["a/b", "1"] == (top.media_type, shelf.blobs[top.digest])
    assert [one.method for one in registry.log][-1] == "PUT"
    sent = len(registry.asked("PUT", "uploads"))
    push(repository(client, registry, "a/b:2", progress=listener), shelf, top)
    assert len(registry.asked("PUT", "uploads")) == sent, "what is there is not sent again"
    assert listener.kinds().count("AlreadyThere") == 3


def test_an_index_comes_after_its_manifests(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    top = index(shelf, image(shelf, seed=1), image(shelf, "linux/arm64", seed=2))
    push(repository(client, registry), shelf, top)
    assert has_all(registry, shelf, everything(shelf, top))
    puts = [one.path.rpartition("/")[2] for one in registry.asked("PUT", "manifests")]
    assert puts[-1] == "1"
    assert len(puts) == 3


def test_a_missing_platform_is_named(registry: Registry, client: Client, shelf: Shelf) -> None:
    other = image(shelf, "linux/arm64", seed=2)
    top = index(shelf, image(shelf), other)
    del shelf.blobs[other.digest]
    with pytest.raises(NotFound, match="linux/arm64"):
        push(repository(client, registry), shelf, top)
    assert not registry.log


def test_a_missing_layer_is_named(registry: Registry, client: Client, shelf: Shelf) -> None:
    top = image(shelf)
    layer = parse_manifest(shelf.blobs[top.digest]).layers[0]
    del shelf.blobs[layer.digest]
    with pytest.raises(NotFound, match=layer.digest):
        push(repository(client, registry), shelf, top)
    assert not registry.manifests


def test_by_digest_no_tag_is_made(registry: Registry, client: Client, shelf: Shelf) -> None:
    top = image(shelf)
    push(repository(client, registry, f"a/b@{top.digest}"), shelf, top)
    assert set(registry.manifests) == {("a/b", top.digest)}


def test_blobs_of_another_repository_are_taken_over(
    registry: Registry, client: Client, shelf: Shelf, listener: Listener
) -> None:
    top = image(shelf)
    push(repository(client, registry, "a/source:1"), shelf, top)
    shelf.mountable = ("not/there", "a/source")
    push(repository(client, registry, progress=listener), shelf, top)
    assert not registry.asked("PUT", "a/b/blobs")
    assert has_all(registry, shelf, everything(shelf, top))
    assert [getattr(one, "source", "") for one in listener.events].count("a/source") == 3


def test_what_cannot_be_taken_over_is_sent(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    top = image(shelf)
    shelf.mountable = ("not/there",)
    push(repository(client, registry), shelf, top)
    assert has_all(registry, shelf, everything(shelf, top))
    posts = registry.asked("POST", "uploads")
    assert len(posts) == 3, "the session that the registry opened instead is used"


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 2500])
def test_in_chunks(registry: Registry, client: Client, shelf: Shelf, size: int) -> None:
    top = image(shelf, sizes=(size,))
    push(repository(client, registry), shelf, top, chunk_size=1000)
    assert has_all(registry, shelf, everything(shelf, top))
    layer = parse_manifest(shelf.blobs[top.digest]).layers[0]
    patches = [one for one in registry.asked("PATCH", "uploads")
               if Digest.of(one.body) != layer.digest and len(one.body) <= 1000]  # fmt: skip
    assert len(patches) == (-(-size // 1000) if size > 1000 else 0)
    if patches:
        assert patches[0].headers["content-range"] == "0-999"


def test_chunks_go_on_where_the_registry_stands(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    top = image(shelf, sizes=(5000,))

    @registry.on("uploads", "PATCH", times=1)
    def half(request: Request) -> bool:
        there = registry.uploads[request.seen.path.rpartition("/")[2]]
        there += request.seen.body[:400]
        return request.reset()

    push(repository(client, registry), shelf, top, chunk_size=1000)
    assert has_all(registry, shelf, everything(shelf, top))
    ranges = [one.headers["content-range"] for one in registry.asked("PATCH", "uploads")]
    assert ranges[:3] == ["0-999", "400-1399", "1400-2399"]


def test_an_upload_that_breaks_off_begins_anew(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    top = image(shelf, sizes=(5000,))
    registry.on("uploads", "PUT", times=2)(lambda request: request.reset())
    push(repository(client, registry), shelf, top)
    assert has_all(registry, shelf, everything(shelf, top))


def test_what_is_too_much_at_once_is_sent_in_chunks(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    """As a proxy before a registry has it, that takes no body of more than so many bytes."""
    top, most = image(shelf, sizes=(3 << 20,)), 300 << 10

    def refuse(request: Request) -> bool | None:
        return request.answer(413) if len(request.seen.body) > most else None

    registry.on("uploads/.", "PUT")(refuse)
    registry.on("uploads/.", "PATCH")(refuse)
    push(repository(client, registry), shelf, top)
    assert has_all(registry, shelf, everything(shelf, top))
    refused = [one for one in registry.log if len(one.body) > most]
    assert [(one.method, len(one.body)) for one in refused] == [
        ("PUT", 3 << 20),
        ("PATCH", 768 << 10),
    ]


def test_what_is_too_much_even_in_chunks_is_told(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    top = image(shelf, sizes=(3 << 20,))
    registry.on("uploads/.")(lambda request: request.answer(413) if request.seen.body else None)
    with pytest.raises(RegistryFailed, match="413"):
        push(repository(client, registry), shelf, top)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Location": "file:///x"}, {"Location": "http://u:p@127.0.0.1/"}, {"Location": "http://"}],
)
def test_upload_locations_that_are_none(
    registry: Registry, client: Client, shelf: Shelf, headers: dict[str, str]
) -> None:
    top = image(shelf)
    registry.on("uploads", "POST")(lambda request: request.answer(202, headers=headers))
    with pytest.raises(RegistryFailed, match="upload location"):
        push(repository(client, registry), shelf, top)
    assert not registry.asked("PUT", "")


@pytest.mark.parametrize("word", ["0-99999", "5-9", "bytes=1-2", "x" * 5000])
def test_ranges_that_cannot_be(registry: Registry, client: Client, shelf: Shelf, word: str) -> None:
    top = image(shelf, sizes=(5000,))
    where = {"Location": "/v2/a/b/blobs/uploads/u", "Range": word}
    registry.on("uploads", "PATCH")(lambda request: request.answer(202, headers=where))
    with pytest.raises(RegistryFailed, match="range of an upload"):
        push(repository(client, registry), shelf, top, chunk_size=1000)


@pytest.mark.parametrize("status", [416, 202])
def test_a_registry_that_stands_still_has_five_tries(
    registry: Registry, client: Client, shelf: Shelf, status: int
) -> None:
    top = image(shelf, sizes=(5000,))
    where = {"Location": "/v2/a/b/blobs/uploads/u", "Range": "0-0"}
    registry.on("uploads/.", "PATCH")(lambda request: request.answer(status, headers=where))
    registry.on("uploads/.", "GET")(lambda request: request.answer(204, headers=where))
    with pytest.raises(RegistryFailed, match="stands elsewhere"):
        push(repository(client, registry), shelf, top, chunk_size=1000)
    assert len(registry.asked("PATCH", "uploads")) == 5


def test_another_digest_for_what_was_pushed(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    top = image(shelf)
    wrong: dict[str, str] = {"Docker-Content-Digest": Digest.of(b"x")}
    registry.on("manifests", "PUT")(lambda request: request.answer(201, headers=wrong))
    with pytest.raises(RegistryFailed, match="another digest"):
        push(repository(client, registry), shelf, top)


def test_layers_that_may_not_be_handed_on_stay(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    plain = parse_manifest(shelf.blobs[image(shelf, sizes=(10,)).digest])
    digest = Digest.of(b"w")
    foreign = {"mediaType": m.DOCKER_FOREIGN_LAYER_GZIP, "digest": digest, "size": 1,
               "urls": ["https://example.com/w"]}  # fmt: skip
    top = document(
        shelf, m.OCI_MANIFEST, {"config": image_to_json(plain.config), "layers": [foreign]}
    )
    push(repository(client, registry), shelf, top)
    assert not registry.asked("HEAD", digest)


def test_indexes_without_end(registry: Registry, client: Client, shelf: Shelf) -> None:
    top = image(shelf)
    for _ in range(8):
        top = index(shelf, replace(top, platform=None))
    with pytest.raises(InvalidImage, match="without end"):
        push(repository(client, registry), shelf, top)


def test_what_refers_to_an_image_is_listed_by_a_tag(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    top = image(shelf)
    here = repository(client, registry)
    push(here, shelf, top)
    assert referrers(here, top.digest) == ()
    config = {"mediaType": "application/vnd.test", "digest": shelf.add(b"{}"), "size": 2}
    kinds = ("application/vnd.sbom", "application/vnd.signature")
    for kind in kinds:
        subject = image_to_json(replace(top, platform=None))
        note = document(
            shelf, m.OCI_MANIFEST,
            {"config": config, "layers": [], "subject": subject, "artifactType": kind,
             "annotations": {"k": kind}},
        )  # fmt: skip
        push(client.repository(parse_reference(f"{registry.host}/a/b@{note.digest}")), shelf, note)
    found = referrers(here, top.digest)
    assert [one.artifact_type for one in found] == list(kinds)
    assert found[0].annotations == {"k": kinds[0]}
    assert len(referrers(here, top.digest, kinds[1])) == 1
    kept = parse_index(registry.manifests["a/b", tag_of(top.digest)][1])
    assert len(kept.manifests) == 2
    delete_referrer(here, found[0])
    assert [one.artifact_type for one in referrers(here, top.digest)] == [kinds[1]]
    assert ("a/b", found[0].digest) not in registry.manifests


def test_a_tag_that_is_something_else_stays(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    top = image(shelf)
    here = repository(client, registry)
    push(here, shelf, top)
    theirs = registry.manifests["a/b", top.digest]
    registry.manifests["a/b", tag_of(top.digest)] = theirs
    assert referrers(here, top.digest) == ()
    config = {"mediaType": "application/vnd.test", "digest": shelf.add(b"{}"), "size": 2}
    subject = image_to_json(replace(top, platform=None))
    note = document(shelf, m.OCI_MANIFEST, {"config": config, "layers": [], "subject": subject})
    with pytest.raises(InvalidImage, match="not an index"):
        push(client.repository(parse_reference(f"{registry.host}/a/b@{note.digest}")), shelf, note)
    assert registry.manifests["a/b", tag_of(top.digest)] == theirs


def test_another_algorithm_is_announced(registry: Registry, client: Client, shelf: Shelf) -> None:
    layer = b"layer"
    digest = Digest.of(layer, "sha512")
    shelf.blobs[digest] = layer
    plain = parse_manifest(shelf.blobs[image(shelf, sizes=(10,)).digest])
    top = document(
        shelf, m.OCI_MANIFEST,
        {"config": image_to_json(plain.config),
         "layers": [{"mediaType": m.OCI_LAYER, "digest": digest, "size": len(layer)}]},
    )  # fmt: skip
    registry.on("uploads", "PUT")(lambda request: request.answer(201))
    push(repository(client, registry), shelf, top)
    assert {"digest-algorithm": ["sha512"]} in [
        one.query for one in registry.asked("POST", "uploads")
    ]


def test_the_referrers_api(registry: Registry, client: Client, shelf: Shelf) -> None:
    top = image(shelf)
    entry = {
        "mediaType": m.OCI_MANIFEST,
        "digest": Digest.of(b"r"),
        "size": 1,
        "artifactType": "a/b",
    }

    @registry.on("/referrers/")
    def api(request: Request) -> bool:
        first = "page" not in request.seen.query
        one = {**entry, "digest": Digest.of(b"r" if first else b"s")}
        body = json.dumps(
            {"schemaVersion": 2, "mediaType": m.OCI_INDEX, "manifests": [one]}
        ).encode()
        link = {"Link": f'<{request.seen.path}?page=2>; rel="next"'} if first else {}
        return request.answer(200, body, {"Content-Type": m.OCI_INDEX, **link})

    found = referrers(repository(client, registry), top.digest)
    assert [one.digest for one in found] == [Digest.of(b"r"), Digest.of(b"s")]


def test_tags_and_deletion(registry: Registry, client: Client, shelf: Shelf) -> None:
    top = image(shelf)
    here = repository(client, registry)
    push(here, shelf, top)

    @registry.on("tags/list")
    def pages(request: Request) -> bool:
        more = "last" not in request.seen.query
        link = {"Link": '</v2/a/b/tags/list?last=b>; rel="next"'} if more else {}
        return request.answer(200, b'{"tags":["a","b"]}' if more else b'{"tags":["c"]}', link)

    assert tags(here) == ("a", "b", "c")
    delete(here)
    with pytest.raises(NotFound):
        resolve(here)
    layer = parse_manifest(shelf.blobs[top.digest]).layers[0]
    assert registry_blobs.exists(here, here.endpoints[0], layer)
    registry.on("blobs", "DELETE")(lambda request: request.answer(405))
    with pytest.raises(Exception, match="does not delete"):
        registry_blobs.delete(here, layer)
