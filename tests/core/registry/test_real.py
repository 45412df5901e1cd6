"""With Debian's docker-registry and skopeo: what they write we read, what we write they read."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound, RegistryFailed
from mobyshell.core.oci import media_types as m
from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import image_to_json, parse_image_config, parse_manifest
from mobyshell.core.oci.platform import matcher, parse_platform
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.registry import TLS, Client, Credentials, OneKeyring
from mobyshell.core.registry.credentials import NoKeyring, default_keyring
from mobyshell.core.registry.manifests import delete, resolve
from mobyshell.core.registry.progress import ProgressEvent, TransferAdvanced
from mobyshell.core.registry.pull import pull
from mobyshell.core.registry.push import push
from mobyshell.core.registry.referrers import referrers
from mobyshell.core.registry.tags import tags
from tests.core.registry.certificates import Authority, make_authority
from tests.core.registry.conftest import QUICK
from tests.core.registry.distribution import (
    Distribution,
    distribution,
    read_layout,
    serve_tokens,
    skopeo,
    write_layout,
)
from tests.core.registry.images import config, document, everything, index, tar_layer
from tests.core.registry.scripted import serving
from tests.core.registry.shelf import Shelf

pytestmark = pytest.mark.peer

AMD64 = matcher(parse_platform("linux/amd64"))
USER, PASSWORD = "moby", "correct horse: battery"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def plain() -> Iterator[Distribution]:
    with distribution() as found:
        yield found


@pytest.fixture(scope="module")
def secured(authority: Authority) -> Iterator[Distribution]:
    with distribution(authority, htpasswd=(USER, PASSWORD)) as found:
        yield found


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(keyring=NoKeyring(), certs_d=(), limits=QUICK) as found:
        yield found


def image(shelf: Shelf, platform: str = "linux/amd64", seed: int = 1) -> Descriptor:
    layers, diff_ids = [], []
    for number in (seed * 10, seed * 10 + 1):
        tar = tar_layer(number)
        packed = gzip.compress(tar, mtime=0)
        shelf.add(packed)
        layers.append(image_to_json(describe(packed, m.OCI_LAYER_GZIP)))
        diff_ids.append(Digest.of(tar))
    members = {"config": image_to_json(config(shelf, platform, diff_ids)), "layers": layers}
    return document(shelf, m.OCI_MANIFEST, members, platform=parse_platform(platform))


def pulled(
    client: Client, name: str, platform: str | None = "linux/amd64"
) -> tuple[Shelf, Descriptor]:
    shelf = Shelf()
    wanted = matcher(parse_platform(platform)) if platform else None
    return shelf, pull(client.repository(parse_reference(name)), shelf, wanted)


@pytest.mark.parametrize("format", ["oci", "v2s2"])
def test_what_skopeo_pushed(
    plain: Distribution, client: Client, tmp_path: Path, format: str
) -> None:
    there = Shelf()
    layout = write_layout(there, image(there), tmp_path / "layout")
    name = f"{plain.host}/theirs/{format}:1"
    skopeo("copy", "--dest-tls-verify=false", f"--format={format}", layout, f"docker://{name}")
    shelf, top = pulled(client, name)
    assert top.media_type == (m.OCI_MANIFEST if format == "oci" else m.DOCKER_MANIFEST)
    manifest = parse_manifest(shelf.blobs[top.digest], top.media_type)
    found = parse_image_config(shelf.blobs[manifest.config.digest])
    assert len(found.diff_ids) == len(manifest.layers) == 2
    for layer, diff_id in zip(manifest.layers, found.diff_ids, strict=True):
        assert Digest.of(gzip.decompress(shelf.blobs[layer.digest])) == diff_id


def test_what_we_pushed(plain: Distribution, client: Client, tmp_path: Path) -> None:
    here = Shelf()
    top = image(here)
    name = f"{plain.host}/ours/one:1"
    push(client.repository(parse_reference(name)), here, top)
    skopeo("copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{tmp_path / 'back'}:1")
    theirs, entry = read_layout(tmp_path / "back")
    assert entry.digest == top.digest
    assert theirs.blobs == {one: here.blobs[one] for one in everything(here, top)}
    told = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}"))
    assert told["Digest"] == top.digest
    assert told["RepoTags"] == ["1"]


@pytest.mark.parametrize("chunk_size", [None, 1000])
def test_an_index_there_and_back(
    plain: Distribution, client: Client, chunk_size: int | None
) -> None:
    here = Shelf()
    arm, amd = (
        image(here, "linux/arm64", 3 + bool(chunk_size)),
        image(here, seed=5 + bool(chunk_size)),
    )
    top = index(here, arm, amd)
    name = f"{plain.host}/ours/index{chunk_size or 0}:1"
    push(client.repository(parse_reference(name)), here, top, chunk_size=chunk_size)
    whole, found = pulled(client, name, None)
    assert found.digest == top.digest
    assert whole.blobs == {one: here.blobs[one] for one in everything(here, top)}
    part, _ = pulled(client, name)
    assert set(part.blobs) == {top.digest, *everything(here, amd)}
    told = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
    assert len(told["manifests"]) == 2


def test_tags_mounts_referrers_and_deletion(plain: Distribution, client: Client) -> None:
    here = Shelf()
    top = image(here, seed=7)
    for tag in ("a", "b", "c"):
        push(client.repository(parse_reference(f"{plain.host}/ours/tags:{tag}")), here, top)
    repository = client.repository(parse_reference(f"{plain.host}/ours/tags:a"))
    assert sorted(tags(repository)) == ["a", "b", "c"]
    here.mountable = ("ours/tags",)
    push(client.repository(parse_reference(f"{plain.host}/ours/mounted:1")), here, top)
    assert pulled(client, f"{plain.host}/ours/mounted:1")[1].digest == top.digest
    assert referrers(repository, top.digest) == ()
    delete(client.repository(parse_reference(f"{plain.host}/ours/tags@{top.digest}")))
    with pytest.raises(NotFound):
        resolve(repository)


def test_what_is_not_there(plain: Distribution, client: Client) -> None:
    with pytest.raises(NotFound, match="has no nothing/here:latest"):
        pulled(client, f"{plain.host}/nothing/here")


def test_a_registry_that_dies_and_comes_back(client: Client) -> None:
    here, layer = Shelf(), os.urandom(24 << 20)
    here.add(layer)
    one = describe(layer, m.OCI_LAYER)
    members = {
        "config": image_to_json(config(here, "linux/amd64", [one.digest])),
        "layers": [image_to_json(one)],
    }
    top = document(here, m.OCI_MANIFEST, members)
    with distribution() as registry:
        repository = parse_reference(f"{registry.host}/big/one:1")
        push(client.repository(repository), here, top)
        died: list[int] = []

        def listen(event: ProgressEvent) -> None:
            if isinstance(event, TransferAdvanced) and event.offset > 4 << 20 and not died:
                died.append(event.offset)
                registry.kill()
                registry.start()

        shelf = Shelf()
        pull(client.repository(repository, progress=listen), shelf)
        assert died
        assert shelf.blobs == {digest: here.blobs[digest] for digest in everything(here, top)}
        assert shelf.written < len(layer) + (1 << 20), "it went on where it was"


def with_login(authority: Authority, host: str, password: str = PASSWORD) -> Client:
    keyring = OneKeyring(host, Credentials(USER, password))
    return Client(keyring=keyring, certs_d=(), tls=TLS(ca=(str(authority.ca),)), limits=QUICK)


def test_tls_and_a_password(secured: Distribution, authority: Authority) -> None:
    here = Shelf()
    top = image(here, seed=8)
    name = f"{secured.host}/ours/secret:1"
    with with_login(authority, secured.host) as client:
        push(client.repository(parse_reference(name)), here, top)
        assert pulled(client, name)[0].blobs == {
            one: here.blobs[one] for one in everything(here, top)
        }
    with with_login(authority, secured.host, "wrong") as client:
        with pytest.raises(RegistryFailed, match="the user moby") as caught:
            pulled(client, name)
        assert "wrong" not in json.dumps(caught.value.to_wire())
    stranger = Client(
        keyring=NoKeyring(), certs_d=(), tls=TLS(ca=(str(authority.ca),)), limits=QUICK
    )
    with stranger, pytest.raises(RegistryFailed, match="strangers"):
        pulled(stranger, name)


def test_the_login_that_skopeo_wrote(
    secured: Distribution, authority: Authority, tmp_path: Path
) -> None:
    file = tmp_path / "auth.json"
    skopeo(
        "login",
        "--tls-verify=false",
        f"--authfile={file}",
        "-u",
        USER,
        "-p",
        PASSWORD,
        secured.host,
    )
    keyring = default_keyring({"REGISTRY_AUTH_FILE": str(file)})
    client = Client(keyring=keyring, certs_d=(), tls=TLS(ca=(str(authority.ca),)), limits=QUICK)
    with client, pytest.raises(NotFound):
        resolve(client.repository(parse_reference(f"{secured.host}/not/there:1")))


def test_tokens(authority: Authority) -> None:
    with serving(authority.server_context()) as service:
        serve_tokens(service, authority, USER, PASSWORD)
        realm = f"https://{service.host}/token"
        with distribution(authority, token_realm=realm) as registry:
            here = Shelf()
            top = image(here, seed=9)
            public, private = (f"{registry.host}/{one}/x:1" for one in ("public", "private"))
            with with_login(authority, registry.host) as client:
                for name in (public, private):
                    push(client.repository(parse_reference(name)), here, top)
                assert pulled(client, private)[1].digest == top.digest
            stranger = Client(
                keyring=NoKeyring(), certs_d=(), tls=TLS(ca=(str(authority.ca),)), limits=QUICK
            )
            with stranger:
                assert pulled(stranger, public)[1].digest == top.digest
                with pytest.raises(RegistryFailed) as caught:
                    pulled(stranger, private)
                assert caught.value.status == 401
                assert "strangers" in caught.value.message
