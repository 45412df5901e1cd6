"""A database that is lost, and one made in its place: no collection takes the old one's files."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mobyshell.core.errors import WrongState
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store import adopt, identity
from mobyshell.core.store.check import check_root, check_store
from mobyshell.core.store.labels import GC_ROOT
from mobyshell.core.store.schema import MIGRATIONS
from mobyshell.core.store.store import Namespace, Store
from mobyshell.core.store.walk import everything
from tests.core.store import images

LAYERS = ({"etc/name": b"one\n"}, {"etc/name": b"two\n", "big": b"x" * 100_000})


def files(root: Path) -> set[str]:
    return {str(one.relative_to(root)) for above in ("content/blobs", "snapshots")
            for one in (root / above).rglob("*") if one.is_file() and one.name != ".chosen"}  # fmt: skip


def furnish(space: Namespace) -> list[Digest]:
    """An image, a blob beside it, a snapshot with a file; the digests."""
    target = images.image(space.content, LAYERS)
    space.images.put("docker.io/library/made:latest", target)
    snapshots = space.snapshotter("native")
    snapshots.prepare("box", labels={GC_ROOT: "now"})
    (Path(snapshots.directories("box").directory) / "mine").write_text("mine")
    found = [one.digest for one in everything(space.content, target)]
    with space.content.writer("beside") as ingest:
        ingest.write(b"beside")
        found.append(ingest.commit().digest)
    return found


@pytest.fixture
def bereft(tmp_path: Path) -> tuple[Path, list[Digest]]:
    """The root of a store whose database is gone, and the blobs in it."""
    root = tmp_path / "store"
    with Store.open(root) as store:
        found = furnish(store.namespace("demo"))
    for path in root.glob("meta.db*"):
        path.unlink()
    return root, found


def test_a_new_store_owns_its_files(store: Store, demo: Namespace) -> None:
    assert identity.owns(store.root, store.database)
    with demo.content.writer("a") as ingest:
        ingest.write(b"a")
        digest = ingest.commit().digest
    demo.content.delete(digest)
    done = store.collect()
    assert (done.foreign, files(store.root.path)) == (False, set())
    with pytest.raises(WrongState, match="nothing to adopt"):
        adopt.adopt(store, "demo")


def test_nothing_of_a_lost_database_is_collected(bereft: tuple[Path, list[Digest]]) -> None:
    root, _ = bereft
    before = files(root)
    with Store.open(root) as store:
        done = store.collect()
        assert (done.foreign, done.freed) == (True, 0)
        store.namespace("demo").snapshotter("native").cleanup()
        assert files(root) == before
        # what is made and removed now does not take the old with it
        snapshots = store.namespace("demo").snapshotter("native")
        snapshots.prepare("new")
        snapshots.remove("new")
        furnish(store.namespace("demo"))
        store.namespace("demo").images.delete("docker.io/library/made:latest")
        store.collect()
        assert files(root) >= before
    (found,) = (one for one in check_root(root) if one.kind != "stranger")
    assert (found.kind, found.mendable) == ("foreign", False)
    assert "store adopt" in found.remedy
    check_root(root, repair=True)
    assert files(root) >= before


def test_what_is_adopted_can_be_used_and_collected(bereft: tuple[Path, list[Digest]]) -> None:
    root, digests = bereft
    with Store.open(root) as store:
        done = adopt.adopt(store, "demo")
        demo = store.namespace("demo")
        assert sorted(one.kind for one in done) == ["content", "image", "snapshot"]
        (image,) = demo.images.list()
        assert {one.digest for one in everything(demo.content, image.target)} < set(digests)
        box = Path(demo.snapshotter("native").directories("recovered-1").directory)
        assert (box / "mine").read_text() == "mine"
        before = files(root)
        done_by_gc = store.collect()
        assert (done_by_gc.foreign, files(root)) == (False, before)
        assert check_store(store) == []
        demo.images.delete(image.name)
        demo.snapshotter("native").remove("recovered-1")
        store.collect()
        assert [one.digest for one in demo.content.walk()] == [digests[-1]]


def test_a_blob_with_other_bytes_is_not_adopted(bereft: tuple[Path, list[Digest]]) -> None:
    root, digests = bereft
    path = root / "content/blobs/sha256" / digests[-1].hex
    path.chmod(0o644)
    path.write_bytes(b"Beside")
    with Store.open(root) as store:
        (wrong,) = (one for one in adopt.adopt(store, "demo") if one.problem)
        assert (wrong.name, wrong.problem) == (
            digests[-1],
            "it holds other bytes: it is garbage now",
        )
        store.collect()
    assert not path.exists()


def test_they_are_removed_when_somebody_says_so(bereft: tuple[Path, list[Digest]]) -> None:
    root, _ = bereft
    with Store.open(root) as store:
        adopt.disown(store)
        assert store.collect().freed > 0
    assert files(root) == set()


def test_a_store_of_before_there_were_marks_keeps_its_files(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store.open(root) as store:
        furnish(store.namespace("demo"))
    (root / "content" / "identity").unlink()
    sql = sqlite3.connect(root / "meta.db", isolation_level=None)
    sql.execute("DROP TABLE identity")
    sql.execute("PRAGMA user_version = 1")
    sql.close()
    with Store.open(root) as store:
        assert identity.owns(store.root, store.database)
        with store.database.read() as sql:
            assert sql.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_a_mark_that_is_gone_is_made_anew_where_nothing_is_lost(store: Store) -> None:
    furnish(store.namespace("demo"))
    store.root.identity.unlink()
    assert store.collect().foreign
    (found,) = check_store(store, repair=True)
    assert (found.kind, found.repaired) == ("unmarked", True)
    assert check_store(store) == []
    assert not store.collect().foreign


def copy_database(root: Path, place: Path) -> None:
    """As a backup has it: of a store that is in use."""
    place.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(root / "meta.db")) as one,
        closing(sqlite3.connect(place)) as other,
    ):
        one.backup(other)


def put_back(root: Path, copy: Path) -> None:
    for path in root.glob("meta.db*"):
        path.unlink()
    shutil.copy(copy, root / "meta.db")


def test_an_older_database_does_not_take_what_is_newer(tmp_path: Path) -> None:
    root, backup = tmp_path / "store", tmp_path / "backup"
    with Store.open(root) as store:
        first = images.image(store.namespace("demo").content, ({"a": b"1"},))
        store.namespace("demo").images.put("docker.io/library/first:latest", first)
        copy_database(root, backup)
        furnish(store.namespace("demo"))
        before = files(root)
    put_back(root, backup)
    with Store.open(root) as store:
        demo = store.namespace("demo")
        assert (store.collect().foreign, files(root)) == (True, before)
        # work goes on, beyond what the lost one had written, and takes no number of its trees
        for number in range(60):
            demo.snapshotter("native").prepare(f"new-{number}", labels={GC_ROOT: "now"})
        assert store.collect().foreign
    with Store.open(root) as store:
        assert store.collect().foreign, "it is not forgotten"
        assert files(root) >= before
        kinds = sorted(one.kind for one in adopt.adopt(store, "demo"))
        assert kinds == ["content", "image", "snapshot"]
        assert not store.collect().foreign
        assert files(root) >= before
    with Store.open(root) as store:
        assert identity.owns(store.root, store.database)
        assert [one for one in check_store(store) if one.kind == "foreign"] == []
        box = Path(
            store.namespace("demo").snapshotter("native").directories("recovered-1").directory
        )
        assert (box / "mine").read_text() == "mine"


def test_a_database_that_was_saved_and_put_back_at_once_is_the_same(tmp_path: Path) -> None:
    root, backup = tmp_path / "store", tmp_path / "backup"
    with Store.open(root) as store:
        furnish(store.namespace("demo"))
        copy_database(root, backup)
    put_back(root, backup)
    with Store.open(root) as store:
        assert identity.owns(store.root, store.database)
    # and one whose number was lost, or is none, is believed
    for text in ("", "x", None):
        store.root.sequence.unlink() if text is None else store.root.sequence.write_text(text)
        with Store.open(root) as store:
            assert identity.owns(store.root, store.database)
