"""Images signed here, pushed with their signatures, and let in elsewhere only with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import Refused
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.trust import keys
from mobyshell.moby.client import Moby
from mobyshell.moby.trust import local_signatures, sign, verify
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
