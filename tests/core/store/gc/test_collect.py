"""Collection: containerd's roots and references; what goes, what stays, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.clock import ManualClock, rfc3339
from mobyshell.core.errors import NotFound
from mobyshell.core.events import ContentDeleted, SnapshotRemoved
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store import events
from mobyshell.core.store.containers import Container
from mobyshell.core.store.content.blobs import Blobs
from mobyshell.core.store.content.values import FRESH
from mobyshell.core.store.gc.graph import Node
from mobyshell.core.store.leases import HELD, Resource
from mobyshell.core.store.store import Namespace, Store

HOUR = 3600.0
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(time.time_ns())


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    with Store.open(tmp_path / "store", clock=clock) as store:
        yield store


def put(namespace: Namespace, data: bytes, labels: dict[str, str] | None = None) -> Digest:
    """A blob that is not fresh: written under a lease that is gone."""
    with namespace.leased() as held, held.content.writer(f"put {Digest.of(data)}") as ingest:
        ingest.write(data)
        return ingest.commit(labels=labels).digest


def describe(digest: Digest, size: int = 1) -> Descriptor:
    return Descriptor(media_type=INDEX, digest=digest, size=size)


def files(store: Store) -> set[str]:
    return {digest.hex for digest, _ in _blobs(store).files()}


def _blobs(store: Store) -> Blobs:
    return Blobs(store.root)


def has(namespace: Namespace, *digests: Digest) -> list[bool]:
    return [namespace.content.has(one) for one in digests]


def test_what_nothing_needs_goes(store: Store, demo: Namespace) -> None:
    digest = put(demo, b"x" * 8192)
    done = store.collect()
    assert [str(one.node) for one in done.removed] == [f"content {digest}"]
    assert done.freed >= 8192
    assert files(store) == set()
    assert events.recent(store.database)[-1].payload == ContentDeleted(digest)
    assert store.collect().removed == ()


def test_images_keep_what_their_labels_say(store: Store, demo: Namespace) -> None:
    layer = put(demo, b"layer")
    config = put(demo, b"config")
    loose = put(demo, b"loose")
    manifest = put(demo, b"manifest", {
        "containerd.io/gc.ref.content.config": config,
        "containerd.io/gc.ref.content.l.0": layer,
    })  # fmt: skip
    demo.images.create("image", describe(manifest))
    store.collect()
    assert has(demo, manifest, config, layer, loose) == [True, True, True, False]
    way = store.why(Node("demo", "content", layer))
    assert [(str(step.source), step.why) for step in way] == [
        ("None", "images are kept"),
        ("image image", "target"),
        (f"content {manifest}", "containerd.io/gc.ref.content.l.0"),
    ]
    demo.images.delete("image")
    assert store.why(Node("demo", "content", layer)) == []
    store.collect()
    assert files(store) == set()
    with pytest.raises(NotFound):
        store.why(Node("demo", "content", layer))


def test_a_dry_run_says_what_would_go(store: Store, demo: Namespace) -> None:
    digest = put(demo, b"x" * 5000)
    done = store.collect(dry_run=True)
    assert (done.dry_run, done.freed, [one.node.key for one in done.removed]) == (
        True, 5000, [digest],
    )  # fmt: skip
    assert demo.content.has(digest)
    # what another namespace has does not come back
    other = store.namespace("other")
    other.images.create("image", describe(put(other, b"x" * 5000)))
    assert store.collect(dry_run=True).freed == 0


def test_namespaces_do_not_keep_each_others(store: Store, demo: Namespace) -> None:
    digest = put(demo, b"x")
    other = store.namespace("other")
    put(other, b"x")
    other.images.create("image", describe(digest))
    store.collect()
    assert (demo.content.has(digest), other.content.has(digest)) == (False, True)
    assert other.content.read(digest) == b"x"


def test_roots_and_what_refers_back(store: Store, demo: Namespace) -> None:
    root = put(demo, b"root", {"containerd.io/gc.root": "x"})
    back = put(demo, b"back", {"containerd.io/gc.bref.content": root})
    image = put(demo, b"image", {"containerd.io/gc.bref.image.x": "name"})
    nobody = put(demo, b"nobody", {"containerd.io/gc.bref.container": "gone"})
    demo.images.create("name", describe(root))
    store.collect()
    assert has(demo, root, back, image, nobody) == [True, True, True, False]


def test_snapshots_by_containers_parents_and_labels(store: Store, demo: Namespace) -> None:
    snapshots = demo.snapshotter("native")
    for name, parent in (("l1", ""), ("l2", "l1"), ("loose", "l1")):
        snapshots.prepare(f"{name}-active", parent)
        snapshots.commit(name, f"{name}-active")
    snapshots.prepare("box", "l2")
    snapshots.prepare("named")
    config = put(demo, b"config", {"containerd.io/gc.ref.snapshot.native": "named"})
    demo.images.create("image", describe(config))
    demo.containers.create(Container("c", snapshotter="native", snapshot_key="box"), {})
    done = store.collect()
    assert {one.node.key for one in done.removed} == {"loose"}
    assert {one.name for one in snapshots.walk()} == {"l1", "l2", "box", "named"}
    way = store.why(Node("demo", "snapshot/native", "l1"))
    assert [step.why for step in way] == ["containers are kept", "snapshot", "parent", "parent"]
    demo.containers.delete("c")
    demo.images.delete("image")
    store.collect()
    assert list(snapshots.walk()) == []
    assert [one for one in os.listdir(store.root.snapshots / "native") if one.isdecimal()] == []
    told = [one.payload for one in events.recent(store.database)]
    assert told.count(SnapshotRemoved("l1", "native")) == 1


def test_a_lease_keeps_until_it_expires(store: Store, demo: Namespace, clock: ManualClock) -> None:
    lease = demo.leases.create("mine", expires=clock.now_ns() / 1e9 + HOUR)
    held = demo.under(lease.id)
    with held.content.writer("ref") as ingest:
        ingest.write(b"x")
        digest = ingest.commit().digest
    assert demo.leases.resources("mine") == [Resource("content", digest)]
    assert store.collect().removed == ()
    assert [step.why for step in store.why(Node("demo", "content", digest))] == [
        "it has not expired", "held by the lease",
    ]  # fmt: skip
    clock.advance(HOUR + 1)
    assert {one.node.kind for one in store.collect().removed} == {"lease", "content"}
    assert demo.leases.list() == []


def test_a_flat_lease_keeps_no_more_than_it_names(store: Store, demo: Namespace) -> None:
    layer = put(demo, b"layer")
    manifest = put(demo, b"manifest", {"containerd.io/gc.ref.content": layer})
    demo.leases.create("flat", {"containerd.io/gc.flat": "x"})
    demo.leases.add("flat", Resource("content", manifest))
    store.collect()
    assert has(demo, manifest, layer) == [True, False]


def test_a_held_lease_ends_with_its_process_and_not_before(
    store: Store, demo: Namespace, clock: ManualClock
) -> None:
    with demo.leased() as held:
        with held.content.writer("ref") as ingest:
            ingest.write(b"x")
            digest = ingest.commit().digest
        clock.advance(HELD * 3)  # a clock that jumps is no reason
        assert store.collect().removed == ()
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from mobyshell.core.store.store import Store\n"
        "with Store.open(Path(sys.argv[1])).namespace('demo').leased() as held:\n"
        "    with held.content.writer('killed') as ingest:\n"
        "        ingest.write(b'killed'); ingest.commit()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(store.root.path)], check=False)
    assert len(demo.leases.list()) == 1
    store.collect()
    assert demo.leases.list() == []
    assert list(demo.content.walk()) == []
    assert not demo.content.has(digest)


def test_what_was_just_written_without_a_lease_has_an_hour(
    store: Store, demo: Namespace, clock: ManualClock
) -> None:
    with demo.content.writer("ref") as ingest:
        ingest.write(b"x")
        digest = ingest.commit().digest
    assert store.collect().removed == ()
    clock.advance(FRESH + 1)
    store.collect()
    assert not demo.content.has(digest)


def test_images_may_expire(store: Store, demo: Namespace, clock: ManualClock) -> None:
    digest = put(demo, b"x")
    soon = rfc3339(clock.now_ns() + int(HOUR * 1e9))
    demo.images.create("image", describe(digest), {"containerd.io/gc.expire": soon})
    demo.images.create("odd", describe(digest), {"containerd.io/gc.expire": "nonsense"})
    store.collect()
    assert len(demo.images.list()) == 2
    clock.advance(HOUR + 1)
    store.collect()
    assert [one.name for one in demo.images.list()] == ["odd"]


def test_ingests_have_a_day_from_their_last_byte(
    store: Store, demo: Namespace, clock: ManualClock
) -> None:
    with demo.content.writer("old") as ingest:
        ingest.write(b"x" * 9000)
    store.collect()
    assert demo.content.status("old").offset == 9000
    clock.advance(25 * HOUR)
    with demo.content.writer("writing") as ingest:
        clock.advance(25 * HOUR)
        done = store.collect()
        assert done.freed >= 9000
        assert [one.ref for one in demo.content.statuses()] == ["writing"]
        ingest.write(b"y")
        ingest.commit()


def test_leftovers_of_crashes_go(store: Store, demo: Namespace) -> None:
    kept = put(demo, b"kept", {"containerd.io/gc.root": "x"})
    orphan = Digest.of(b"orphan")
    (store.root.blobs / "sha256" / orphan.hex).write_bytes(b"orphan")
    (store.root.ingests / "abandoned").mkdir()
    (store.root.ingests / "abandoned" / "data").write_bytes(b"x" * 5000)
    done = store.collect()
    assert done.removed == ()
    assert done.freed >= 5000
    assert files(store) == {kept.hex}
    assert os.listdir(store.root.ingests) == []


def test_a_commit_that_was_cut_off_is_not_collected(store: Store, demo: Namespace) -> None:
    """The bytes are among the blobs, without a row; the ingest will have them back."""
    data = b"x" * 5000
    with demo.content.writer("ref") as ingest:
        ingest.write(data)
    (directory,) = store.root.ingests.iterdir()
    digest = Digest.of(data)
    (directory / "committing").write_text(digest)
    (store.root.blobs / "sha256").mkdir(exist_ok=True)
    (directory / "data").rename(store.root.blobs / "sha256" / digest.hex)
    store.collect()
    with demo.content.writer("ref") as ingest:
        assert ingest.offset == len(data)
        ingest.commit(expected=digest)
    assert demo.content.read(digest) == data


def test_one_bad_label_stops_nothing(store: Store, demo: Namespace) -> None:
    digest = put(demo, b"x", {
        "containerd.io/gc.root": "x", "containerd.io/gc.ref.content": "nonsense",
        "containerd.io/gc.ref.snapshot": "x", "containerd.io/gc.bref": "x",
        "containerd.io/gc.bref.content": json.dumps({}),
    })  # fmt: skip
    store.collect()
    assert demo.content.has(digest)
