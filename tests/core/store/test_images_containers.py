"""Images and containers: names in a namespace, and what can be changed about them."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from mobyshell.core.errors import AlreadyExists, NotFound, UsageError, WrongState
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store import events
from mobyshell.core.store.containers import Container
from mobyshell.core.store.store import Namespace, Store

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ONE, TWO = (
    Descriptor(media_type=MANIFEST, digest=Digest.of(data), size=1) for data in (b"1", b"2")
)


def told(store: Store) -> list[str]:
    return [f"{one.topic} {one.id}" for one in events.recent(store.database)]


def test_images_are_named_once(store: Store, demo: Namespace) -> None:
    target = Descriptor(media_type=MANIFEST, digest=ONE.digest, size=7, annotations={"a": "é"})
    image = demo.images.create("docker.io/library/a:1", target, {"k": "v"})
    assert image == demo.images.get("docker.io/library/a:1")
    assert image.target == target
    assert image.labels == {"k": "v"}
    with pytest.raises(AlreadyExists, match="in namespace demo already"):
        demo.images.create("docker.io/library/a:1", TWO)
    assert told(store) == ["/namespaces/create demo", "/images/create docker.io/library/a:1"]


def test_put_points_a_name_elsewhere(store: Store, demo: Namespace) -> None:
    demo.images.put("a", ONE, {"k": "v"})
    image = demo.images.put("a", TWO, {"l": "w"})
    assert (image.target.digest, image.labels) == (TWO.digest, {"k": "v", "l": "w"})
    assert image.updated > image.created
    assert told(store)[1:] == ["/images/create a", "/images/update a"]


def test_update_and_delete_images(demo: Namespace) -> None:
    demo.images.create("a", ONE, {"k": "v"})
    assert demo.images.update("a", labels={"k": None}).labels == {}
    assert demo.images.update("a", target=TWO).target.digest == TWO.digest
    with pytest.raises(NotFound, match="is of sha256"):
        demo.images.delete("a", target=ONE.digest)
    demo.images.delete("a", target=TWO.digest)
    for call in (demo.images.get, demo.images.delete, demo.images.update):
        with pytest.raises(NotFound):
            call("a")


def test_not_found_says_where_else(store: Store, demo: Namespace) -> None:
    for name in ("other", "third"):
        store.namespace(name).images.create("a", ONE)
        store.namespace(name).containers.create(Container("c"), {})
    with pytest.raises(NotFound) as caught:
        demo.images.get("a")
    assert caught.value.hint == "it is in namespaces other, third: --namespace other"
    with pytest.raises(NotFound, match="no container c in namespace demo"):
        demo.containers.get("c")


def test_list_images_by_filters(demo: Namespace) -> None:
    for number in range(5):
        demo.images.create(f"docker.io/library/i:{number}", (ONE, TWO)[number % 2],
                           {"n": str(number), "a.b/c": "x"})  # fmt: skip

    def names(*filters: str) -> list[str]:
        return [one.name.rpartition(":")[2] for one in demo.images.list(*filters)]

    assert names() == list("01234")
    assert names("name==docker.io/library/i:3") == ["3"]
    assert names(f"target.digest=={TWO.digest}") == ["1", "3"]
    assert names("labels.n~=[23]") == ["2", "3"]
    assert names('labels."a.b/c"==x,labels.n!=2', "labels.n==2") == list("01234")
    assert names(f"target.mediatype=={MANIFEST}") == list("01234")


@pytest.mark.parametrize("name", ["", "a\x1b[31m", "a\nb"])
def test_no_names_of_images(demo: Namespace, name: str) -> None:
    with pytest.raises(UsageError):
        demo.images.create(name, ONE)


def test_a_container_comes_back_as_it_went(store: Store, demo: Namespace) -> None:
    given = Container("c", "docker.io/library/a:1", "runc", {"systemd": True}, "overlayfs", "c-key",
                      {"k": "v"}, {"ext": {"x": [1, 2]}})  # fmt: skip
    spec = {"ociVersion": "1.2.0", "process": {"args": ["sh", "é"]}}
    made = demo.containers.create(given, spec)
    assert made == demo.containers.get("c")
    assert (made.runtime, made.runtime_options, made.extensions) == (
        "runc", {"systemd": True}, {"ext": {"x": [1, 2]}},
    )  # fmt: skip
    assert made.created > 0
    assert demo.containers.spec("c") == spec
    with pytest.raises(AlreadyExists):
        demo.containers.create(Container("c"), {})
    assert told(store)[1:] == ["/containers/create c"]


def test_containers_change(store: Store, demo: Namespace) -> None:
    demo.containers.create(Container("c", labels={"a": "1"}), {"ociVersion": "1"})
    now = demo.containers.update("c", labels={"b": "2"}, image="x", spec={"ociVersion": "2"})
    assert (now.labels, now.image) == ({"a": "1", "b": "2"}, "x")
    assert demo.containers.spec("c") == {"ociVersion": "2"}
    assert demo.containers.update("c", extensions={"e": 1}).extensions == {"e": 1}
    with pytest.raises(WrongState):
        demo.containers.update("c", snapshot_key="k")
    demo.containers.create(Container("d", snapshotter="native"), {})
    assert demo.containers.update("d", snapshot_key="k").snapshot_key == "k"
    demo.containers.delete("c")
    with pytest.raises(NotFound):
        demo.containers.spec("c")
    assert told(store)[-1] == "/containers/delete c"


def test_list_containers_by_filters(demo: Namespace) -> None:
    for number in range(4):
        demo.containers.create(Container(f"c{number}", image=f"i{number % 2}", runtime="crun"), {})
    assert [one.id for one in demo.containers.list("image==i1")] == ["c1", "c3"]
    assert [one.id for one in demo.containers.list("id~=c[02]")] == ["c0", "c2"]
    assert len(demo.containers.list("runtime.name==crun")) == 4


@pytest.mark.parametrize("id", ["", "../x", "a/b", "-a", "x" * 77])
def test_no_ids_of_containers(demo: Namespace, id: str) -> None:
    with pytest.raises(UsageError):
        demo.containers.create(Container(id), {})


LOOKUPS = {
    "images": "SELECT * FROM images WHERE namespace = ? AND name = ?",
    "containers": "SELECT * FROM containers WHERE namespace = ? AND id = ?",
    "content": "SELECT * FROM content JOIN blobs ON blobs.digest = content.digest"
    " WHERE content.namespace = ? AND content.digest = ?",
    "elsewhere": "SELECT namespace FROM content WHERE digest = ?",
    "list": "SELECT * FROM images WHERE namespace = ? ORDER BY name",
    "events": "SELECT * FROM events WHERE sequence > ? ORDER BY sequence",
    "ingests": "SELECT * FROM ingests WHERE namespace = ? AND ref = ?",
    "directory": "SELECT * FROM ingests WHERE directory = ?",
    "children": "SELECT * FROM snapshots WHERE parent = ?",
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_what_is_looked_up_is_found_by_an_index(store: Store, name: str) -> None:
    query = LOOKUPS[name]
    with store.database.read() as sql:
        plan = sql.execute(f"EXPLAIN QUERY PLAN {query}", ("x",) * query.count("?")).fetchall()
    steps = [str(row[3]) for row in plan]
    assert all("USING" in step and not step.startswith("SCAN") for step in steps), steps


def test_a_lookup_among_many_takes_no_longer(tmp_path: Path) -> None:
    def fill(count: int) -> Store:
        store = Store.open(tmp_path / str(count))
        demo = store.namespace("demo")
        with store.database.write() as sql:
            demo.scope.ensure_namespace(sql)
            sql.executemany(
                "INSERT INTO images (namespace, name, media_type, digest, size, created, updated)"
                " VALUES ('demo', ?, 'm', ?, 1, 0, 0)",
                ((f"i{number}", ONE.digest) for number in range(count)),
            )
        return store

    def best(store: Store) -> float:
        images = store.namespace("demo").images
        times = []
        for number in range(200):
            began = time.perf_counter()
            images.get(f"i{number % 50}")
            times.append(time.perf_counter() - began)
        return min(times)

    with fill(50) as few, fill(20_000) as many:
        assert best(many) < 5 * best(few)


def test_specs_are_not_read_for_a_list(store: Store) -> None:
    """Columns before a row's long last one need none of its overflow pages."""
    with store.database.read() as sql:
        columns = [row[1] for row in sql.execute("PRAGMA table_info(containers)")]
    assert columns[-1] == "spec"
    assert sqlite3.sqlite_version_info >= (3, 37), "STRICT tables"
