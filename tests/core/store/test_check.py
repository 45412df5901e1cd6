"""What is broken is found, named and mended; what is not broken stays."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mobyshell.core.errors import StoreDamaged, Unsupported
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.platform import host_platform
from mobyshell.core.store.adopt import adopt
from mobyshell.core.store.check import Finding, check_root, check_store
from mobyshell.core.store.containers import Container
from mobyshell.core.store.labels import BOOT
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.store import Namespace, Store
from mobyshell.core.store.unpack import unpack
from mobyshell.core.store.walk import resolve
from tests.core.store import images
from tests.core.store.snapshots.conftest import seen
from tests.core.store.unpack_actor import act, expected


def put(namespace: Namespace, data: bytes, labels: dict[str, str] | None = None) -> Digest:
    with namespace.content.writer(f"put {Digest.of(data)}") as ingest:
        ingest.write(data)
        return ingest.commit(labels=labels).digest


def furnish(namespace: Namespace, name: str) -> Digest:
    """An image with a layer, a snapshot of it, and a container on that."""
    layer = put(namespace, b"layer of " + name.encode() * 1000)
    digest = put(namespace, name.encode(), {"containerd.io/gc.ref.content.l.0": layer})
    namespace.images.create(name, Descriptor(media_type="m/m", digest=digest, size=len(name)))
    snapshots = namespace.snapshotter("native")
    snapshots.prepare(f"{name}-0")
    snapshots.commit(f"{name}-layer", f"{name}-0")
    snapshots.prepare(f"{name}-box", f"{name}-layer")
    namespace.containers.create(
        Container(f"c-{name}", snapshotter="native", snapshot_key=f"{name}-box"), {}
    )
    return layer


@pytest.fixture
def furnished(store: Store, demo: Namespace) -> Store:
    furnish(demo, "good")
    furnish(demo, "bad")
    return store


def blob(store: Store, digest: Digest) -> Path:
    return store.root.blobs / digest.algorithm / digest.hex


def kinds(found: list[Finding]) -> list[str]:
    return sorted(one.kind for one in found)


def assert_good_remains(store: Store) -> None:
    demo = store.namespace("demo")
    assert demo.content.verify(demo.images.get("good").target.digest)
    assert {one.name for one in demo.snapshotter("native").walk()} >= {"good-layer", "good-box"}
    assert demo.containers.get("c-good").snapshot_key == "good-box"


def test_a_sound_store_has_no_findings(furnished: Store) -> None:
    assert check_store(furnished) == []
    assert check_root(furnished.root.path) == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_manifest_costs_its_image_and_no_other(furnished: Store, damage: str) -> None:
    demo = furnished.namespace("demo")
    digest = demo.images.get("bad").target.digest
    path = blob(furnished, digest)
    path.chmod(0o644)
    if damage == "flip":
        path.write_bytes(b"Bad")
    elif damage == "remove":
        path.unlink()
    else:
        os.truncate(path, damage == "truncate")
    if damage == "flip":
        demo.content.open(digest).close()  # of the right size: only reading it all tells
    else:
        with pytest.raises(StoreDamaged, match=digest):
            demo.content.open(digest)
    (found,) = check_store(furnished)
    assert (found.kind, found.subject, found.repaired) == ("blob", digest, False)
    assert found.remedy == "dropped, and image demo: bad"
    (mended,) = check_store(furnished, repair=True)
    assert mended.repaired
    assert check_store(furnished) == []
    assert [one.name for one in demo.images.list()] == ["good"]
    assert_good_remains(furnished)
    put(demo, b"bad")  # pulled again
    demo.content.verify(digest)


def test_without_hashing_only_sizes_are_compared(furnished: Store) -> None:
    digest = furnished.namespace("demo").images.get("bad").target.digest
    blob(furnished, digest).chmod(0o644)
    blob(furnished, digest).write_bytes(b"Bad")
    assert kinds(check_store(furnished, hash_blobs=False)) == ["mode"]
    assert kinds(check_store(furnished)) == ["blob"]


def test_files_without_rows(furnished: Store) -> None:
    orphan = Digest.of(b"orphan")
    blob(furnished, orphan).write_bytes(b"orphan")
    (furnished.root.blobs / "sha256" / "notes.txt").write_text("mine")
    (furnished.root.snapshots / "native" / "4711").mkdir()
    found = check_store(furnished, repair=True)
    assert kinds(found) == ["orphan", "orphan", "stranger"]
    assert kinds(check_store(furnished)) == ["stranger"]  # nobody's to remove
    assert not blob(furnished, orphan).exists()
    assert not (furnished.root.snapshots / "native" / "4711").exists()
    assert_good_remains(furnished)


def test_what_was_for_an_earlier_boot_need_have_no_files(furnished: Store) -> None:
    """A power cut may leave so much of what nobody waited for the disk with."""
    with furnished.database.read() as sql:
        (tree,) = sql.execute("SELECT tree FROM snapshots WHERE key = 'bad-box'").fetchone()
    shutil.rmtree(furnished.root.snapshots / "native" / str(tree))
    assert kinds(check_store(furnished)) == ["tree"]
    demo = furnished.namespace("demo")
    demo.containers.update("c-bad", labels={BOOT: "an earlier one"})
    assert kinds(check_store(furnished)) == []
    furnished.collect()
    assert kinds(check_store(furnished)) == []
    assert [one.id for one in demo.containers.list()] == ["c-good"]
    assert_good_remains(furnished)


def test_a_tree_that_is_gone_takes_what_was_made_from_it(furnished: Store) -> None:
    with furnished.database.read() as sql:
        (tree,) = sql.execute("SELECT tree FROM snapshots WHERE key = 'bad-layer'").fetchone()
    shutil.rmtree(furnished.root.snapshots / "native" / str(tree))
    found = check_store(furnished, repair=True)
    assert kinds(found) == ["container", "tree"]
    (container,) = check_store(furnished)
    assert "its snapshot native/bad-box is missing" in container.problem
    assert_good_remains(furnished)


def damage_tree(tree: Path, how: str) -> None:
    """In the tree of a layer: what a disk, or somebody, may do."""
    victim = tree / "d0" / "file-5"
    kept = victim.stat()
    if how == "flip":
        data = bytearray(victim.read_bytes())
        data[7] ^= 1
        victim.write_bytes(data)
        os.utime(victim, ns=(kept.st_atime_ns, kept.st_mtime_ns))  # nobody sees it but by reading
    elif how == "truncate":
        os.truncate(victim, 3)
    elif how == "remove":
        victim.unlink()
    elif how == "add":
        (tree / "d0" / "backdoor").write_text("x")
    elif how == "mode":
        victim.chmod(0o4755)
    else:
        os.chown(victim, 33, 33)


@pytest.mark.root
@pytest.mark.parametrize("name", sorted(DRIVERS))
@pytest.mark.parametrize("how", ["flip", "truncate", "remove", "add", "mode", "owner"])
def test_a_layers_tree_that_is_not_the_layer_is_unpacked_anew(
    store: Store, name: str, how: str
) -> None:
    with store.namespace("default").leased() as held:  # of its blobs nothing else holds
        _damaged_and_mended(held, store, name, how)


def _damaged_and_mended(space: Namespace, store: Store, name: str, how: str) -> None:
    root = store.root.path
    chain = act(space, name, 0)
    snapshots = space.snapshotter(name)
    snapshots.prepare("box", chain)
    assert check_root(root, unpack=True) == []
    with store.database.read() as sql:
        (tree,) = sql.execute("SELECT min(tree) FROM snapshots").fetchone()
    damage_tree(store.root.snapshots / name / str(tree) / "fs", how)
    first, *rest = check_root(root, unpack=True)
    assert (first.kind, first.repaired, rest) == ("layer", False, [])
    assert "/d0/" in first.problem
    (mended,) = check_root(root, repair=True, unpack=True)
    assert mended.repaired
    assert check_root(root, unpack=True) == []
    # what was made of it is there, and nothing of the repair
    assert {one.name for one in snapshots.walk()} >= {"box", chain}
    assert not [one.name for one in snapshots.walk() if "check" in one.name]
    assert seen(snapshots, chain) == expected(0)
    trees = {one.name for one in (store.root.snapshots / name).iterdir()}
    assert all(one.isdecimal() for one in trees)


@pytest.mark.root
def test_a_tree_is_not_exchanged_for_what_a_damaged_blob_holds(store: Store) -> None:
    """A layer stored plain, whose blob has a byte of a file changed: it unpacks, to something else."""
    with store.namespace("default").leased() as held:
        tar = images.layer({"file": b"content\n" * 100})
        digest = images.put(held.content, tar, images.LAYER.removesuffix("+gzip"))
        config = images.put_json(held.content, {
            "architecture": host_platform().architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [Digest.of(tar)]},
        }, images.CONFIG)  # fmt: skip
        target = images.put_json(held.content, {
            "schemaVersion": 2, "mediaType": images.MANIFEST, "config": images.plain(config),
            "layers": [images.plain(digest)],
        }, images.MANIFEST)  # fmt: skip
        held.images.put("plain", target)
        chain = unpack(held, resolve(held.content, target))
        path = blob(store, digest.digest)
        path.chmod(0o644)
        path.write_bytes(tar.replace(b"content\n", b"Content\n", 1))
        assert kinds(check_root(store.root.path, unpack=True)) == ["blob"]
        assert kinds(check_root(store.root.path, repair=True, unpack=True)) == ["blob", "part"]
        assert seen(held.snapshotter(), chain) == {"file": "content\n" * 100}


@pytest.mark.root
def test_a_layer_that_is_lost_is_named_with_its_image(store: Store) -> None:
    with store.namespace("default").leased() as held:
        _lost_and_told(held, store)


def _lost_and_told(space: Namespace, store: Store) -> None:
    act(space, "overlayfs", 0)
    image = resolve(space.content, space.images.get("image-0").target)
    lost = image.layers[1].digest
    blob(store, lost).unlink()
    damaged, _ = check_store(store, repair=True)
    assert (damaged.kind, damaged.subject, damaged.repaired) == ("blob", lost, True)
    (part,) = check_store(store, repair=True)
    assert (part.kind, part.subject, part.mendable) == ("part", "default: image-0", False)
    assert "image pull image-0" in part.remedy
    act(space, "overlayfs", 0)  # it comes again
    assert check_store(store) == []


def test_directories_and_modes(furnished: Store) -> None:
    furnished.root.ingests.rmdir()
    furnished.root.snapshots.chmod(0o755)
    digest = furnished.namespace("demo").images.get("good").target.digest
    blob(furnished, digest).chmod(0o644)
    assert kinds(check_store(furnished, repair=True)) == ["directory", "directory", "mode"]
    assert check_store(furnished) == []


def test_an_ingest_without_its_directory(furnished: Store) -> None:
    furnished.namespace("demo").content.writer("ref").close()
    (directory,) = furnished.root.ingests.iterdir()
    shutil.rmtree(directory)
    assert kinds(check_store(furnished, repair=True)) == ["ingest"]
    assert check_store(furnished) == []


def test_who_holds_a_lock_is_named(furnished: Store) -> None:
    with furnished.database.write():
        (found,) = [one for one in check_store(furnished) if one.kind == "lock"]
    assert found.problem == f"process {os.getpid()} holds it"


@pytest.mark.parametrize("damage", ["zeros", "text", "truncated"])
def test_a_database_that_is_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "store"
    with Store.open(path) as store:
        furnish(store.namespace("demo"), "good")
    database = path / "meta.db"
    content = database.read_bytes()
    database.write_bytes({"zeros": bytes(len(content)), "text": b"hello" * 2000,
                          "truncated": content[:1000]}[damage])  # fmt: skip
    with pytest.raises(StoreDamaged):
        Store.open(path)
    (found,) = check_root(path)
    assert found.kind == "database"
    first, *rest = check_root(path, repair=True)
    assert first.repaired
    assert "set aside as meta.db.damaged-" in first.remedy
    # not a row could be read: the files are nobody's, and stay until somebody says whose they are
    assert [one.kind for one in rest] == ["foreign"]
    with Store.open(path) as store:
        assert store.collect().foreign
        assert [one for one in adopt(store, "found") if one.problem] == []
    assert check_root(path) == []
    kept = [
        one for one in path.glob("meta.db.damaged-*") if not one.name.endswith(("-wal", "-shm"))
    ]
    assert len(kept) == 1
    with Store.open(path) as store:
        furnish(store.namespace("demo"), "good")


def test_a_page_that_is_lost_costs_what_stood_on_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store.open(path) as store:
        demo = store.namespace("demo")
        digest = put(demo, b"target", {"containerd.io/gc.root": "x"})
        target = Descriptor(media_type="m/m", digest=digest, size=6)
        with store.database.write():  # one transaction, which is quicker
            for number in range(2000):
                demo.images.create(f"image-{number:04}", target)
    with closing(sqlite3.connect(path / "meta.db")) as sql:
        (page,) = (
            sql.execute(
                "SELECT pageno FROM dbstat WHERE name = 'images' AND pagetype = 'leaf'"
                " ORDER BY pageno LIMIT 1 OFFSET 20"
            ).fetchone()
            if _has_dbstat(sql)
            else (100,)
        )
    with open(path / "meta.db", "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    found = check_root(path, repair=True)
    assert found[0].kind == "database"
    assert found[0].repaired
    assert check_root(path) == []
    with Store.open(path) as store:
        left = store.namespace("demo").images.list()
        assert 1000 < len(left) < 2000
        assert store.namespace("demo").content.read(digest) == b"target"


def _has_dbstat(sql: sqlite3.Connection) -> bool:
    try:
        sql.execute("SELECT 1 FROM dbstat LIMIT 1")
    except sqlite3.Error:
        return False
    return True


def test_nothing_is_done_to_a_newer_store(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Store.open(path).close()
    with closing(sqlite3.connect(path / "meta.db")) as sql:
        sql.execute("PRAGMA user_version = 99")
    with pytest.raises(Unsupported):
        check_root(path, repair=True)
    assert list(path.glob("meta.db.damaged-*")) == []
