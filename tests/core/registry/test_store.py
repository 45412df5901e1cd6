"""With a real store: what is pulled stays, once for all who want it, through sudden ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import Interrupted, StoreDamaged
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.image_spec import parse_manifest
from mobyshell.core.oci.platform import matcher, parse_platform
from mobyshell.core.registry import Client, Stop
from mobyshell.core.registry.progress import ProgressEvent, WaitingForOther
from mobyshell.core.registry.pull import pull
from mobyshell.core.registry.push import push
from mobyshell.core.store.store import Namespace, Store
from mobyshell.core.store.transfer import StoreSink, StoreSource
from tests.core.registry.conftest import Listener, repository, stock
from tests.core.registry.images import everything, image, index
from tests.core.registry.scripted import Registry, Request
from tests.core.registry.shelf import Shelf
from tests.core.store import images
from tests.waiting import eventually

PATIENCE = 60
ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as found:
        yield found


@pytest.fixture
def demo(store: Store) -> Namespace:
    return store.namespace("demo")


@pytest.fixture
def pullers() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        one.kill()
        one.wait()
        if one.stdout is not None:
            one.stdout.close()


def puller(
    pullers: list[subprocess.Popen[str]], store: Store, registry: Registry
) -> subprocess.Popen[str]:
    one = subprocess.Popen(
        [sys.executable, "-m", "tests.core.registry.puller", str(store.root.path), f"{registry.host}/a/b:1"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    pullers.append(one)
    return one


def layer_of(there: Shelf, top: Descriptor) -> Descriptor:
    return parse_manifest(there.blobs[top.digest]).layers[0]


def test_into_a_store_and_out_again(
    registry: Registry, client: Client, store: Store, demo: Namespace, listener: Listener
) -> None:
    there = Shelf()
    amd, arm = image(there, seed=1), image(there, "linux/arm64", seed=2)
    top = index(there, amd, arm)
    stock(registry, there, top)
    with demo.leased() as held:
        target = pull(
            repository(client, registry), StoreSink(held), matcher(parse_platform("linux/amd64"))
        )
        held.images.put("a", target)
    store.collect()
    for digest in {top.digest, *everything(there, amd)}:
        assert demo.content.verify(digest).size == len(there.blobs[digest])
    assert not demo.content.has(arm.digest)
    source = demo.content.info(layer_of(there, amd).digest).labels
    assert source[f"containerd.io/distribution.source.{registry.host}"] == "a/b"
    push(
        repository(client, registry, "c/d:1", progress=listener), StoreSource(demo),
        Descriptor(media_type=amd.media_type, digest=amd.digest, size=amd.size),
    )  # fmt: skip
    assert not registry.asked("PUT", "uploads"), "the registry takes over what it has"
    with pytest.raises(Exception, match="linux/arm64"):
        push(repository(client, registry, "c/d:2"), StoreSource(demo), target)


def test_what_was_pushed_is_taken_over_by_the_next_repository(
    registry: Registry, client: Client, demo: Namespace
) -> None:
    """Of what was built here nobody has pulled anything: where it is is known from the first push."""
    target = images.image(demo.content, ({"a": b"x" * 10_000},))
    push(repository(client, registry, "a/b:1"), StoreSource(demo), target)
    assert registry.asked("PUT", "uploads")
    registry.log.clear()
    push(repository(client, registry, "c/d:1"), StoreSource(demo), target)
    assert not registry.asked("PUT", "uploads")
    blob = parse_manifest(demo.content.read(target.digest)).layers[0]
    labels = demo.content.info(blob.digest).labels
    assert labels[f"containerd.io/distribution.source.{registry.host}"] == "a/b,c/d"


def test_another_platform_later_stays_too(
    registry: Registry, client: Client, store: Store, demo: Namespace
) -> None:
    there = Shelf()
    amd, arm = image(there, seed=1), image(there, "linux/arm64", seed=2)
    top = index(there, amd, arm)
    stock(registry, there, top)
    for platform in ("linux/amd64", "linux/arm64"):
        with demo.leased() as held:
            wanted = matcher(parse_platform(platform))
            held.images.put("a", pull(repository(client, registry), StoreSink(held), wanted))
        store.collect()
    for digest in everything(there, top):
        demo.content.verify(digest)


def test_two_who_want_the_same_fetch_it_once(
    registry: Registry, store: Store, demo: Namespace, pullers: list[subprocess.Popen[str]]
) -> None:
    there = Shelf()
    top = image(there, sizes=(300_000,))
    stock(registry, there, top)
    both = threading.Event()

    @registry.on("blobs/" + layer_of(there, top).digest)
    def slow(request: Request) -> bool:
        both.wait(PATIENCE)
        return False

    first = puller(pullers, store, registry)
    eventually(lambda: registry.asked("GET", layer_of(there, top).digest))
    second = puller(pullers, store, registry)
    assert second.stdout is not None
    said = iter(second.stdout.readline, "")
    assert any("WaitingForOther" in line for line in said)
    both.set()
    for one in (first, second):
        output, _ = one.communicate(timeout=PATIENCE)
        assert one.returncode == 0, output
    assert len(registry.asked("GET", layer_of(there, top).digest)) == 1
    for digest in everything(there, top):
        demo.content.verify(digest)


def test_a_pull_that_is_killed_goes_on_later(
    registry: Registry,
    client: Client,
    store: Store,
    demo: Namespace,
    pullers: list[subprocess.Popen[str]],
) -> None:
    there = Shelf()
    top = image(there, sizes=(3_000_000,))
    stock(registry, there, top)
    layer = layer_of(there, top)
    release = threading.Event()

    @registry.on("blobs/" + layer.digest, times=1)
    def half(request: Request) -> bool:
        request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % layer.size)
        request.wfile.write(there.blobs[layer.digest][:2_000_000])
        release.wait(PATIENCE)
        return True

    killed = puller(pullers, store, registry)
    eventually(lambda: any(one.offset == 2_000_000 for one in demo.content.statuses()))
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    release.set()
    assert not demo.images.list()
    assert not demo.content.has(layer.digest)
    with demo.leased() as held:
        held.images.put("a", pull(repository(client, registry), StoreSink(held)))
    assert registry.asked("GET", layer.digest)[-1].headers["range"] == "bytes=2000000-"
    store.collect()
    for digest in everything(there, top):
        demo.content.verify(digest)
    assert not demo.content.statuses()


def test_who_waits_for_another_can_be_stopped(
    registry: Registry, client: Client, demo: Namespace
) -> None:
    there = Shelf()
    top = image(there, sizes=(300_000, 200_000))
    stock(registry, there, top)
    layer = layer_of(there, top)
    stop = Stop()

    def listen(event: ProgressEvent) -> None:
        if isinstance(event, WaitingForOther):
            stop.stop()

    other = StoreSink(demo).open_writer(layer)
    assert other is not None
    with pytest.raises(Interrupted):
        pull(repository(client, registry, progress=listen, stop=stop), StoreSink(demo))
    other.close()


def test_a_damaged_document_is_told(
    registry: Registry, client: Client, store: Store, demo: Namespace
) -> None:
    there = Shelf()
    top = image(there)
    stock(registry, there, top)
    with demo.leased() as held:
        held.images.put("a", pull(repository(client, registry), StoreSink(held)))
    path = store.root.blobs / "sha256" / top.digest.hex
    path.chmod(0o600)
    path.write_bytes(b"x" * top.size)
    with pytest.raises(StoreDamaged, match=top.digest):
        pull(repository(client, registry), StoreSink(demo))
