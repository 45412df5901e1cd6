"""Images signed here, pushed with their signatures, and let in elsewhere only with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidImage, Refused
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import describe
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import dump_image
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.registry.client import Client
from mobyshell.core.registry.manifests import resolve
from mobyshell.core.store.content.whole import Whole
from mobyshell.core.store.references import child_labels
from mobyshell.core.store.walk import document
from mobyshell.core.trust import keys
from mobyshell.moby.client import Moby
from mobyshell.moby.trust import (
    fetch_signatures,
    local_signatures,
    sign,
    signature_reference,
    verify,
)
from tests.core.registry.distribution import Distribution, distribution
from tests.moby.test_client import put_image

pytestmark = [pytest.mark.root, pytest.mark.peer]


@pytest.fixture(scope="module")
def registry() -> Iterator[Distribution]:
    with distribution() as running:
        yield running


@pytest.fixture
def moby(tmp_path: Path) -> Iterator[Moby]:
    with Moby(tmp_path / "root", tmp_path / "state", "demo") as client:
        yield client


def require(moby: Moby, registry: Distribution, public: bytes) -> None:
    (moby.root / "team.pub").write_bytes(public)
    (moby.root / "trust.toml").write_text(f"""
[[organisation]]
name = "Team"
images = ["{registry.host}/team"]
require = "signature"
keys = ["team.pub"]
""")


def test_only_what_is_signed_comes_in(moby: Moby, registry: Distribution, tmp_path: Path) -> None:
    private, public = keys.generate(b"")
    key = keys.read_private(private)
    name = f"{registry.host}/team/app:1"
    image = put_image(moby, str(parse_reference(name)))
    moby.push(name)
    with Moby(tmp_path / "other", moby.state, "b") as other:
        require(other, registry, public)
        with pytest.raises(Refused, match="signed by 0 of the keys of Team"):
            other.pull(name)
        assert other.images() == []
        assert list(other.store.root.blobs.glob("*/*")) == []  # not a byte of it was fetched
        stranger = keys.read_private(keys.generate(b"")[0])
        sign(moby.tenant, image, stranger, {})
        moby.push(name)
        with pytest.raises(Refused):
            other.pull(name)
        sign(moby.tenant, image, key, {"release": "1"})
        moby.push(name)
        pulled = other.pull(name)
        assert verify(other.tenant, pulled, [key.public])[key.public.id].optional == {
            "release": "1"
        }
        assert len(local_signatures(other.tenant, parse_reference(name), image.target.digest)) == 2
        # another image under the same name is not covered by it
        put_image(moby, str(parse_reference(name)), Env=["CHANGED=1"])
        moby.push(name)
        with pytest.raises(Refused):
            other.pull(name)
        assert other.image(name).target.digest == image.target.digest


def test_signing_twice_with_one_key_leaves_one_signature(moby: Moby) -> None:
    image = put_image(moby)
    key = keys.read_private(keys.generate(b"")[0])
    for _ in range(2):
        sign(moby.tenant, image, key, {})
    assert len(local_signatures(moby.tenant, parse_reference("busybox"), image.target.digest)) == 1


def test_an_archive_is_no_way_around(moby: Moby, registry: Distribution, tmp_path: Path) -> None:
    _, public = keys.generate(b"")
    name = f"{registry.host}/team/app:2"
    put_image(moby, str(parse_reference(name)))
    with open(tmp_path / "app.tar", "wb") as file:
        moby.export_images([name], file)
    with Moby(tmp_path / "other", moby.state, "b") as other:
        require(other, registry, public)
        with pytest.raises(Refused):
            other.import_images(tmp_path / "app.tar")
        (image,) = other.import_images(tmp_path / "app.tar", name="elsewhere.example.com/app")
        assert image.name == "elsewhere.example.com/app:latest"


def test_signatures_of_others_stay_beside_ones_own(
    moby: Moby, registry: Distribution, tmp_path: Path
) -> None:
    """Who pushes one, or fetches some, has not seen those of others before."""
    name = f"{registry.host}/team/both:1"
    reference = parse_reference(name)
    put_image(moby, str(reference))
    moby.push(name)
    pairs = [keys.read_private(keys.generate(b"")[0]) for _ in range(3)]
    signers = [Moby(tmp_path / f"signer-{n}", moby.state, "b") for n in range(3)]
    for one, key in zip(signers, pairs, strict=True):  # nobody has seen another's
        sign(one.tenant, one.pull(name), key, {})
    for one in signers[:2]:
        one.push(name)
    digest = signers[0].image(name).target.digest
    with Client() as client:
        repository = client.repository(reference)
        for _ in range(2):
            fetch_signatures(signers[2].tenant, repository, digest)
        listed = resolve(client.repository(signature_reference(reference, digest)))
        signers[0].push(name)  # which has nothing new
        assert resolve(client.repository(signature_reference(reference, digest))) == listed
    found = verify(signers[2].tenant, signers[2].image(name), [key.public for key in pairs])
    assert set(found) == {key.public.id for key in pairs}
    assert len(local_signatures(signers[2].tenant, reference, digest)) == 3
    for one in signers:
        one.close()


def test_what_another_program_has_noted_of_a_signature_stays(
    moby: Moby, registry: Distribution
) -> None:
    """cosign keeps certificates and its log's receipts in annotations beside the signature."""
    name = f"{registry.host}/team/noted:1"
    image = put_image(moby, str(parse_reference(name)))
    where = signature_reference(parse_reference(name), image.target.digest)
    first, second = (keys.read_private(keys.generate(b"")[0]) for _ in range(2))
    sign(moby.tenant, image, first, {})
    made = document(moby.tenant.store.content, moby.tenant.store.images.get(str(where)).target)
    assert isinstance(made, Manifest)
    (layer,) = made.layers
    noted = {**(layer.annotations or {}), "dev.sigstore.cosign/bundle": "{}"}
    told = replace(made, layers=(replace(layer, annotations=noted),))
    data = dump_image(told)
    with moby.tenant.leased() as held:
        held.store.content.add([Whole(Digest.of(data), data, child_labels(told.children))])
        held.store.images.put(str(where), describe(data, media_types.OCI_MANIFEST))
    sign(moby.tenant, image, second, {})
    both = document(moby.tenant.store.content, moby.tenant.store.images.get(str(where)).target)
    assert isinstance(both, Manifest)
    assert [(one.annotations or {}).get("dev.sigstore.cosign/bundle") for one in both.layers] == [
        "{}", None,
    ]  # fmt: skip


def test_what_cannot_be_signatures_is_not_fetched(
    moby: Moby, registry: Distribution, tmp_path: Path
) -> None:
    """Whoever may push can put anything under that tag."""
    name = f"{registry.host}/team/large:1"
    image = put_image(moby, str(parse_reference(name)))
    moby.push(name)
    tag = signature_reference(parse_reference(name), image.target.digest)
    put_image(moby, str(parse_reference("filler")))
    moby.push("filler", str(tag))
    with Moby(tmp_path / "other", moby.state, "b") as other:
        require(other, registry, keys.generate(b"")[1])
        with pytest.raises(InvalidImage, match="too large to be signatures"):
            other.pull(name)
        assert list(other.store.root.blobs.glob("*/*")) == []
    sign(moby.tenant, image, keys.read_private(keys.generate(b"")[0]), {})
    with pytest.raises(InvalidImage, match="too large to be signatures"):
        moby.push(name)  # and nothing that is there is written over
