"""Documents of images: read into values, written back, and refused where they are two things."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import InvalidImage, InvalidSpec, MobyshellError, Unsupported, from_wire
from mobyshell.core.oci import media_types as m
from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_config import Healthcheck, chain_id, chain_ids
from mobyshell.core.oci.image_spec import (
    MOST_LAYERS,
    check_layers,
    dump_image,
    image_to_json,
    parse_document,
    parse_image_config,
    parse_index,
    parse_manifest,
)
from mobyshell.core.oci.index import Index
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.platform import matcher, parse_platform
from tests.core.oci.documents import ANY_JSON

Document = dict[str, Any]


def digest(number: int) -> Digest:
    return Digest.of(b"%d" % number)


def descriptor(media_type: str, number: int, **more: Any) -> Document:
    return {"mediaType": media_type, "digest": digest(number), "size": number, **more}


def manifest(kind: str = m.OCI_MANIFEST, layers: int = 2) -> Document:
    docker = kind == m.DOCKER_MANIFEST
    return {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(m.DOCKER_CONFIG if docker else m.OCI_CONFIG, 1000),
        "layers": [
            descriptor(m.DOCKER_LAYER_GZIP if docker else m.OCI_LAYER_GZIP, number)
            for number in range(layers)
        ],
    }


def index(kind: str = m.OCI_INDEX) -> Document:
    inner = m.DOCKER_MANIFEST if kind == m.DOCKER_INDEX else m.OCI_MANIFEST

    def entry(number: int, architecture: str, **more: Any) -> Document:
        variant = more.pop("variant", None)
        platform = {"os": "linux", "architecture": architecture}
        if variant:
            platform["variant"] = variant
        return descriptor(inner, number, platform=platform, **more)

    about = {"vnd.docker.reference.type": "attestation-manifest",
             "vnd.docker.reference.digest": digest(2)}  # fmt: skip
    return {
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [
            entry(1, "386"), entry(2, "amd64"), entry(3, "arm", variant="v6"),
            entry(4, "arm", variant="v7"), entry(5, "amd64"),
            descriptor(inner, 6, annotations=about,
                       platform={"os": "unknown", "architecture": "unknown"}),
            descriptor(inner, 7),
        ],
    }  # fmt: skip


CONFIG: Document = {
    "created": "2026-01-02T03:04:05Z",
    "author": "a",
    "architecture": "arm",
    "variant": "v7",
    "os": "linux",
    "os.version": "",
    "config": {
        "User": "1000:1000", "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Env": ["PATH=/bin"],
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["true"], "Volumes": {"/data": {}},
        "WorkingDir": "/w", "Labels": {"a": "b", "": ""}, "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["NONE"]},
    },
    "rootfs": {"type": "layers", "diff_ids": [digest(1), digest(2)]},
    "history": [
        {"created": "2026-01-02T03:04:05Z", "created_by": "COPY", "comment": "c"},
        {"empty_layer": True, "author": "x"},
    ],
    "docker_version": "27",
}  # fmt: skip


def bytes_of(document: Any) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize("kind", [m.OCI_MANIFEST, m.DOCKER_MANIFEST])
@pytest.mark.parametrize("promised", [True, False])
def test_a_manifest(kind: str, promised: bool) -> None:
    document = {**manifest(kind), "annotations": {"a": "b"}, "later": [1]}
    found = parse_document(bytes_of(document), kind if promised else None)
    assert isinstance(found, Manifest)
    assert found.is_image
    assert (found.media_type, found.config.size, len(found.layers)) == (kind, 1000, 2)
    assert found.size == 1001
    assert found.children == (found.config, *found.layers)
    assert found.extra == {"later": [1]}
    assert image_to_json(found) == document
    assert parse_manifest(dump_image(found), kind) == found
    assert dump_image(parse_manifest(dump_image(found))) == dump_image(found)


@pytest.mark.parametrize("kind", [m.OCI_INDEX, m.DOCKER_INDEX])
def test_an_index(kind: str) -> None:
    found = parse_index(bytes_of(index(kind)), kind)
    assert image_to_json(found) == index(kind)
    assert parse_document(dump_image(found), kind) == found
    assert [str(one) for one in found.platforms] == [
        "linux/386", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/amd64",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("platform", "sizes"),
    [
        ("linux/amd64", [2, 5, 1, 7]), ("linux/arm/v7", [4, 3, 7]), ("linux/arm/v6", [3, 7]),
        ("linux/arm64", [4, 3, 7]), ("linux/386", [1, 7]), ("linux/s390x", [7]),
    ],
)  # fmt: skip
def test_what_a_machine_can_run_of_an_index(platform: str, sizes: list[int]) -> None:
    found = parse_index(bytes_of(index()))
    chosen = found.candidates(matcher(parse_platform(platform)))
    assert [one.size for one in chosen] == sizes


def test_attestations_are_known_by_their_annotations_and_platform() -> None:
    found = parse_index(bytes_of(index()))
    assert [one.size for one in found.manifests if one.is_attestation] == [6]
    marked = Descriptor(
        media_type=m.OCI_MANIFEST, digest=digest(1), size=1,
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )  # fmt: skip
    assert marked.is_attestation


def test_a_configuration() -> None:
    found = parse_image_config(bytes_of(CONFIG))
    assert image_to_json(found) == CONFIG
    assert parse_image_config(dump_image(found)) == found
    assert str(found.platform) == "linux/arm/v7"
    assert found.config is not None
    assert found.config.args == ("/bin/sh", "-c", "true")
    assert found.config.exposed_ports == frozenset({"80/tcp", "53/udp"})
    assert found.config.healthcheck == Healthcheck(test=("NONE",))
    assert found.diff_ids == (digest(1), digest(2))


@pytest.mark.parametrize("empty", [{}, {"diff_ids": None}, {"diff_ids": []}])
def test_an_image_from_scratch(empty: Document) -> None:
    found = parse_image_config(
        bytes_of({"os": "linux", "architecture": "amd64", "config": None, "history": None,
                  "rootfs": {"type": "layers", **empty}})
    )  # fmt: skip
    assert found.diff_ids == ()
    assert found.chain_id is None
    nothing = parse_manifest(bytes_of({**manifest(), "layers": None}))
    assert nothing.layers == ()
    check_layers(nothing, found)


def test_the_chain() -> None:
    one, two, three = digest(1), digest(2), digest(3)
    second = Digest.of(f"{one} {two}".encode())
    assert chain_ids([one, two, three]) == (one, second, Digest.of(f"{second} {three}".encode()))
    assert chain_id([one, two]) == second
    assert parse_image_config(bytes_of(CONFIG)).chain_id == second
    assert chain_ids([]) == ()


def test_layers_are_counted() -> None:
    config = parse_image_config(bytes_of(CONFIG))
    check_layers(parse_manifest(bytes_of(manifest(layers=2))), config)
    with pytest.raises(InvalidImage, match="3 layers in its manifest, 2 in its configuration"):
        check_layers(parse_manifest(bytes_of(manifest(layers=3))), config)


def changed(document: Document, **changes: Any) -> Document:
    return {**document, **changes}


def bad_layer(**changes: Any) -> Document:
    return changed(manifest(), layers=[{**descriptor(m.OCI_LAYER, 1), **changes}])


@pytest.mark.parametrize(
    ("document", "promised", "says"),
    [
        ([], None, "not an object"),
        (manifest(m.OCI_MANIFEST), m.DOCKER_MANIFEST, "says itself"),
        (manifest(), m.OCI_INDEX, "says itself"),
        (index(), m.OCI_MANIFEST, "says itself"),
        (changed(index(), mediaType=None), m.OCI_MANIFEST, "but has manifests"),
        (changed(manifest(), mediaType=None), m.OCI_INDEX, "but has no manifests"),
        (changed(manifest(), mediaType=m.OCI_INDEX), None, "but has no manifests"),
        (changed(manifest(), manifests=[]), None, "two things at once"),
        (changed(index(), layers=[]), m.OCI_INDEX, "two things at once"),
        (changed(index(), config=descriptor(m.OCI_CONFIG, 1)), None, "two things at once"),
        (manifest(), "text/html", "says itself"),
        (changed(manifest(), mediaType="text/html"), None, "no image"),
        (changed(manifest(), mediaType=1), None, "not a string"),
        (changed(manifest(), schemaVersion=3), None, "schemaVersion"),
        (changed(manifest(), layers=[descriptor(m.OCI_LAYER, n) for n in range(MOST_LAYERS + 1)]),
         None, "501 elements"),
        ({"schemaVersion": 2, "layers": []}, None, "config: found nothing"),
        (changed(manifest(), layers={}), None, "layers"),
        (bad_layer(digest="sha256:../../etc"), None, "layers[0].digest"),
        (bad_layer(digest=None), None, "layers[0].digest"),
        (bad_layer(size=-1), None, "layers[0].size"),
        (bad_layer(size=2**61), None, "layers[0].size"),
        (bad_layer(size="1"), None, "layers[0].size"),
        (bad_layer(mediaType="../x"), None, "layers[0].mediaType"),
        (bad_layer(data="!"), None, "base64"),
        (bad_layer(data="YWJj"), None, "other bytes"),
        (changed(manifest(), layers=[descriptor(m.OCI_LAYER, 5), {**descriptor(m.OCI_LAYER, 5), "size": 6}]),
         None, "one size of one digest"),
    ],
)  # fmt: skip
def test_what_is_refused(document: Any, promised: str | None, says: str) -> None:
    with pytest.raises(InvalidImage) as caught:
        parse_document(bytes_of(document), promised)
    assert says in caught.value.message
    assert caught.value.message.isprintable()
    assert type(from_wire(caught.value.to_wire())) is InvalidImage


@pytest.mark.parametrize(
    ("document", "promised"),
    [
        ({"schemaVersion": 1, "fsLayers": [{"blobSum": digest(1)}], "name": "x"}, None),
        ({"schemaVersion": 1}, m.OCI_MANIFEST),
        ({**manifest(), "fsLayers": []}, m.OCI_MANIFEST),
        *((manifest(), one) for one in sorted(m.SCHEMA_1)),
    ],
)
def test_schema_1_is_told_as_such(document: Document, promised: str | None) -> None:
    with pytest.raises(Unsupported, match="schema 1"):
        parse_document(bytes_of(document), promised)


def test_an_index_is_no_manifest_and_the_other_way_round() -> None:
    with pytest.raises(InvalidImage, match="is an index"):
        parse_manifest(bytes_of(index()))
    with pytest.raises(InvalidImage, match="is a manifest"):
        parse_index(bytes_of(manifest()))
    for document in (manifest(), index()):
        with pytest.raises(InvalidImage, match="another kind"):
            parse_image_config(bytes_of(document))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b'{"a":1,"a":2}', b"[" * 100, b'{"a":' * 100, b" " * (5 << 20),
     b'{"mediaType":"\\ud800"}', b"NaN"],
)  # fmt: skip
def test_what_is_no_json_is_no_image(content: bytes) -> None:
    for parse in (parse_document, parse_image_config):
        with pytest.raises(InvalidImage) as caught:
            parse(content)
        assert isinstance(caught.value, InvalidSpec)
        assert caught.value.message.isprintable()


def test_embedded_bytes_are_the_ones_named() -> None:
    one = describe(b"hello", m.OCI_EMPTY, data=base64.b64encode(b"hello").decode())
    found = parse_manifest(bytes_of({**manifest(), "config": image_to_json(one)}))
    assert found.config.embedded() == b"hello"
    assert not found.is_image


def test_types() -> None:
    assert m.compression(m.OCI_LAYER_ZSTD) == "zstd"
    assert m.compression(m.OCI_LAYER) == ""
    assert m.compression(m.DOCKER_LAYER) is m.Compression.UNKNOWN
    assert m.compression(m.OCI_CONFIG) is None
    assert m.is_foreign(m.DOCKER_FOREIGN_LAYER_GZIP)
    assert not m.is_foreign(m.OCI_LAYER)
    assert not m.is_media_type("application/json; charset=utf-8")


MODEST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
READERS: tuple[Callable[[bytes], Any], ...] = (parse_document, parse_image_config)


@MODEST
@given(
    st.sampled_from([manifest(), manifest(m.DOCKER_MANIFEST), index(), CONFIG]), st.data(), ANY_JSON
)
def test_one_member_of_a_stranger(document: Document, data: st.DataObject, value: Any) -> None:
    """Whatever a stranger writes in place of a member: a value that is written back, or an error."""
    document = json.loads(json.dumps(document))
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    for read in READERS:
        try:
            found = read(bytes_of(document))
        except MobyshellError as error:
            assert error.message.isprintable()
            assert len(error.message) < 600
        else:
            assert read(dump_image(found)) == found
            if isinstance(found, Index):
                found.candidates(matcher())
