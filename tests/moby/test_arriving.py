"""An image unpacked while its layers come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidImage, MobyshellError, NotFound
from mobyshell.core.oci import media_types as m
from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_config import chain_ids
from mobyshell.core.oci.image_spec import image_to_json
from mobyshell.core.oci.platform import host_platform
from mobyshell.core.registry import Client
from mobyshell.core.registry.credentials import NoKeyring
from mobyshell.moby.client import Moby
from tests.core.registry.conftest import QUICK, stock
from tests.core.registry.images import config, document, tar_layer
from tests.core.registry.scripted import Registry, Request, serving
from tests.core.registry.shelf import Shelf

pytestmark = pytest.mark.root
PATIENCE = 60


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as found:
        yield found


@pytest.fixture
def moby(tmp_path: Path) -> Iterator[Moby]:
    with Moby(tmp_path / "root", tmp_path / "state", "demo") as found:
        yield found


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(keyring=NoKeyring(), certs_d=(), plain_http=True, limits=QUICK) as found:
        yield found


def image(shelf: Shelf, *, lies: bool = False) -> tuple[list[Descriptor], list[Digest], Descriptor]:
    """Three layers; where it `lies`, the configuration says something else of the first."""
    tars = [tar_layer(number) for number in (1, 2, 3)]
    layers = [describe(one, m.OCI_LAYER) for one in tars]
    diff_ids = [shelf.add(one) for one in tars]
    if lies:
        diff_ids[0] = Digest.of(b"another tree")
    members = {"config": image_to_json(config(shelf, str(host_platform()), diff_ids)),
               "layers": [image_to_json(one) for one in layers]}  # fmt: skip
    return layers, diff_ids, document(shelf, m.OCI_MANIFEST, members)


def snapshots(moby: Moby) -> set[str]:
    return {one.name for one in moby.tenant.snapshotter().walk() if one.kind == "committed"}


@pytest.mark.parametrize("snapshotter", ["", "native"])
def test_a_layer_is_unpacked_while_the_next_comes(
    moby: Moby, registry: Registry, client: Client, snapshotter: str
) -> None:
    there = Shelf()
    layers, diff_ids, top = image(there)
    stock(registry, there, top)
    names = chain_ids(diff_ids)
    waited = threading.Event()

    @registry.on("blobs/" + layers[1].digest)
    def late(request: Request) -> bool:
        """It comes when the first is unpacked: never, to who would unpack all at the end."""
        snapshots = moby.tenant.snapshotter(snapshotter)
        for _ in range(PATIENCE * 20):
            if any(one.name == names[0] for one in snapshots.walk()):
                waited.set()
                break
            threading.Event().wait(0.05)
        return False

    found = moby.pull(f"{registry.host}/a/b:1", registry=client, snapshotter=snapshotter)
    assert waited.is_set()
    assert found.is_unpacked(snapshotter)
    assert moby.tenant.store.content.has(top.digest)


def test_what_unpacks_to_something_else_ends_the_pull(
    moby: Moby, registry: Registry, client: Client
) -> None:
    there = Shelf()
    layers, _, top = image(there, lies=True)
    stock(registry, there, top)
    release = threading.Event()

    @registry.on("blobs/" + layers[2].digest)
    def stall(request: Request) -> bool:
        request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % layers[2].size)
        release.wait(PATIENCE)
        return True

    with pytest.raises(InvalidImage, match=layers[0].digest):
        moby.pull(f"{registry.host}/a/b:1", registry=client)
    release.set()
    assert moby.images() == []
    assert snapshots(moby) == set()


@pytest.mark.parametrize("number", [0, 2])
def test_a_layer_that_does_not_come_ends_the_unpacking(
    moby: Moby, registry: Registry, client: Client, number: int
) -> None:
    there = Shelf()
    layers, diff_ids, top = image(there)
    stock(registry, there, top)
    registry.on("blobs/" + layers[number].digest, times=1)(lambda request: request.answer(404))
    with pytest.raises(NotFound):
        moby.pull(f"{registry.host}/a/b:1", registry=client)
    assert moby.images() == []
    found = moby.pull(f"{registry.host}/a/b:1", registry=client)
    assert found.is_unpacked()
    assert snapshots(moby) == set(chain_ids(diff_ids))


def test_a_second_pull_has_nothing_to_do(moby: Moby, registry: Registry, client: Client) -> None:
    there = Shelf()
    _, _, top = image(there)
    stock(registry, there, top)
    for _ in range(2):
        moby.pull(f"{registry.host}/a/b:1", registry=client)
    assert len(registry.asked("GET", "blobs/")) == 4
    with pytest.raises(MobyshellError):
        moby.pull(f"{registry.host}/a/b:2", registry=client)
