"""Leases and namespaces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.core.errors import AlreadyExists, NotFound, UsageError, WrongState
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store import events
from mobyshell.core.store.containers import Container
from mobyshell.core.store.leases import (
    HELD,
    HOLDER,
    Resource,
    holder_lives,
    own_holder,
    parse_time,
)
from mobyshell.core.store.store import Namespace, Store

DIGEST = Digest.of(b"x")


def test_leases(demo: Namespace) -> None:
    lease = demo.leases.create("mine", {"k": "v"})
    assert (lease.id, lease.labels, lease.expires) == ("mine", {"k": "v"}, None)
    with pytest.raises(AlreadyExists):
        demo.leases.create("mine")
    named = demo.leases.create()
    assert [one.id for one in demo.leases.list()] == sorted(["mine", named.id])
    assert [one.id for one in demo.leases.list("labels.k==v")] == ["mine"]
    demo.leases.delete("mine")
    with pytest.raises(NotFound):
        demo.leases.get("mine")


def test_what_a_lease_holds(demo: Namespace) -> None:
    demo.leases.create("mine")
    some = [Resource("content", DIGEST), Resource("ingests", "ref"),
            Resource("snapshots/overlayfs", "key")]  # fmt: skip
    for one in (*some, some[0]):
        demo.leases.add("mine", one)
    assert demo.leases.resources("mine") == some
    demo.leases.remove("mine", some[1])
    with pytest.raises(NotFound):
        demo.leases.remove("mine", some[1])
    assert demo.leases.resources("mine") == [some[0], some[2]]
    with pytest.raises(NotFound):
        demo.leases.add("other", some[0])


@pytest.mark.parametrize(
    "resource",
    [Resource("content", "x"), Resource("images", "x"), Resource("snapshots", "x"),
     Resource("snapshots/../x", "x"), Resource("ingests", "")],
)  # fmt: skip
def test_what_no_lease_can_hold(demo: Namespace, resource: Resource) -> None:
    demo.leases.create("mine")
    with pytest.raises(UsageError):
        demo.leases.add("mine", resource)


def test_expiry_by_label(demo: Namespace) -> None:
    lease = demo.leases.create("a", {"containerd.io/gc.expire": "2030-01-02T03:04:05.5+01:00"})
    assert lease.expires == parse_time("2030-01-02T02:04:05.5Z")
    lease = demo.leases.create("b", expires=1_900_000_000.25)
    assert parse_time(lease.labels["containerd.io/gc.expire"]) == 1_900_000_000.25
    with pytest.raises(UsageError, match="not a time"):
        demo.leases.create("c", {"containerd.io/gc.expire": "tomorrow"})


@pytest.mark.parametrize(
    "text", ["", "2030", "2030-01-02", "2030-01-02T03:04:05", "2030-13-02T03:04:05Z",
             "2030-01-02T03:04:05.xZ", "2030-01-02T03:04:05+0100", "2030-01-02T03:04:05Zx"],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError):
        parse_time(text)


def test_held_for_as_long_as_the_block(demo: Namespace) -> None:
    with demo.leased({"why": "test"}) as held:
        (lease,) = demo.leases.list()
        assert lease.labels["why"] == "test"
        assert lease.expires is not None
        assert lease.expires - lease.created > HELD - 1
        assert holder_lives(lease.labels[HOLDER]) is True
        with held.leased() as inner:
            assert inner is held
        with held.content.writer("ref") as ingest:
            assert demo.leases.resources(lease.id) == [Resource("ingests", "ref")]
            ingest.write(b"x")
            ingest.commit()
        assert demo.leases.resources(lease.id) == [Resource("content", DIGEST)]
        with pytest.raises(AlreadyExists):
            held.content.writer("again", expected=DIGEST)
        held.content.claim(DIGEST)
    assert demo.leases.list() == []


def test_a_lease_that_is_gone_holds_nothing(demo: Namespace) -> None:
    with pytest.raises(NotFound, match="no lease gone"):
        demo.under("gone").content.writer("ref")
    with demo.leased() as held, held.content.writer("ref") as ingest:
        ingest.write(b"x")
        demo.leases.delete(held.scope.lease)
        with pytest.raises(NotFound):
            ingest.commit()
    # the bytes are there for who goes on
    with demo.content.writer("ref") as ingest:
        assert ingest.offset == 1
        assert ingest.commit().digest == DIGEST


def test_who_holds() -> None:
    assert holder_lives(own_holder()) is True
    boot, namespace, pid, start = own_holder().split("/")
    assert holder_lives(f"{boot}/{namespace}/{pid}/{int(start) + 1}") is False
    assert holder_lives(f"other-boot/{namespace}/{pid}/{start}") is False
    assert holder_lives(f"{boot}/1/{pid}/{start}") is None
    assert holder_lives("nonsense") is None
    code = "from mobyshell.core.store.leases import own_holder; print(own_holder())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert holder_lives(done.stdout.strip()) is False


def test_namespaces(store: Store) -> None:
    store.namespaces.create("a", {"k": "v"})
    with pytest.raises(AlreadyExists):
        store.namespaces.create("a")
    assert store.namespaces.update("a", {"k": None, "l": "w"}).labels == {"l": "w"}
    store.namespace("b").images.create("i", Descriptor(media_type="m/m", digest=DIGEST, size=1))
    assert [one.name for one in store.namespaces.list()] == ["a", "b"]
    assert dict(store.namespaces.list(count=True)[1].inside) == {"images": 1}
    store.namespaces.delete("a")
    for call in (store.namespaces.get, store.namespaces.delete):
        with pytest.raises(NotFound):
            call("a")
    topics = [one.topic for one in events.recent(store.database)]
    assert topics == ["/namespaces/create", "/namespaces/update", "/namespaces/create",
                      "/images/create", "/namespaces/delete"]  # fmt: skip


def test_a_namespace_with_something_in_it_stays(store: Store, demo: Namespace) -> None:
    demo.images.create("i", Descriptor(media_type="m/m", digest=DIGEST, size=1))
    demo.containers.create(Container("c"), {})
    demo.snapshotter("native").prepare("k")
    with demo.content.writer("ref") as ingest:
        ingest.write(b"x")
        ingest.commit()
    demo.content.writer("other").close()
    demo.leases.create("l")
    with pytest.raises(WrongState) as caught:
        store.namespaces.delete("demo")
    assert caught.value.message == (
        "namespace demo is not empty: 1 image, 1 container, 1 snapshot, 1 blob, 1 ingest, 1 lease"
    )
    assert store.namespaces.get("demo").inside["content"] == 1


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "x" * 77, "\x1b"])
def test_no_names_of_namespaces(store: Store, name: str) -> None:
    with pytest.raises(UsageError):
        store.namespaces.create(name)
    with pytest.raises(UsageError):
        store.namespace(name)


def test_the_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.namespaces.create("a")
        with store.namespace("a").content.writer("ref") as ingest:
            ingest.write(b"x")
    open_to_others = [
        path for path in (tmp_path / "store").rglob("*") if path.stat().st_mode & 0o077
    ]
    assert open_to_others == []
