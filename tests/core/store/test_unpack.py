"""Images unpacked into snapshots: what is seen then, what is refused, and who does it of many."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mobyshell.core.errors import (
    InvalidImage,
    InvalidLayer,
    NotFound,
    StoreDamaged,
    TimedOut,
    UsageError,
)
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.labels import GC_REF_SNAPSHOT, UNCOMPRESSED
from mobyshell.core.store.layers import Applied, LayerWorker, Progress
from mobyshell.core.store.snapshots.choose import DRIVERS, snapshotter
from mobyshell.core.store.store import Namespace, Store
from mobyshell.core.store.unpack import Job, from_content, unpack
from mobyshell.core.store.walk import resolve
from tests.core.store import images
from tests.core.store.snapshots.conftest import seen, shown

pytestmark = pytest.mark.root

Entry = tuple[str, str, dict[str, int]]


@pytest.fixture
def space(store: Store) -> Namespace:
    return store.namespace("test")


@pytest.fixture(params=sorted(DRIVERS))
def name(request: pytest.FixtureRequest) -> str:
    """Of each snapshotter in turn."""
    return str(request.param)


def tar(*entries: tuple[str, bytes | None, dict[str, object]]) -> bytes:
    """A tar of files (bytes) and directories (None), with attributes."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path, content, attributes in entries:
            member = tarfile.TarInfo(path)
            member.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            member.mode = 0o755 if content is None else 0o644
            member.size = len(content or b"")
            for key, value in attributes.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content or b""))
    return data.getvalue()


def image(
    space: Namespace, *tars: bytes, diff_ids: Sequence[str] = (), platform: str = "amd64"
) -> Descriptor:
    """An image of these layers; its manifest."""
    content = space.content
    blobs = [images.put(content, gzip.compress(one, mtime=0), images.LAYER) for one in tars]
    described = images.put_json(content, {
        "architecture": platform, "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids) or [Digest.of(one) for one in tars]},
    }, images.CONFIG)  # fmt: skip
    return images.put_json(content, {
        "schemaVersion": 2, "mediaType": images.MANIFEST, "config": images.plain(described),
        "layers": [images.plain(one) for one in blobs],
    }, images.MANIFEST)  # fmt: skip


BASE = tar(
    ("", None, {"mode": 0o711, "uid": 3, "mtime": 1000}),
    ("d", None, {"mode": 0o1770, "uid": 7, "gid": 8, "mtime": 2000}),
    ("d/one", b"1", {}), ("d/two", b"2", {}), ("top", b"t", {}),
)  # fmt: skip
NEXT = tar(("d/three", b"3", {}), ("d/.wh.one", b"", {}), ("new/deep/x", b"x", {}))
LAST = tar(("d/three", b"changed", {}), (".wh.top", b"", {}), (".wh.nowhere", b"", {}))


def test_layers_become_snapshots(space: Namespace, name: str) -> None:
    found = resolve(space.content, image(space, BASE, NEXT, LAST))
    chain = unpack(space, found, snapshotter=name)
    assert chain == found.chain_id
    snapshots = snapshotter(space.scope, name)
    assert [(one.name, one.parent) for one in snapshots.walk()] == [
        (found.chain_ids[0], ""), (found.chain_ids[1], found.chain_ids[0]),
        (found.chain_ids[2], found.chain_ids[1]),
    ]  # fmt: skip
    assert seen(snapshots, chain) == {
        "d": None, "d/two": "2", "d/three": "changed", "new": None, "new/deep": None,
        "new/deep/x": "x",
    }  # fmt: skip
    assert seen(snapshots, found.chain_ids[1])["top"] == "t"


def test_what_upper_layers_do_not_say_is_as_below(space: Namespace, name: str) -> None:
    chain = unpack(space, resolve(space.content, image(space, BASE, NEXT, LAST)), snapshotter=name)
    snapshots = snapshotter(space.scope, name)
    for mounts in (snapshots.prepare("box", chain), snapshots.view("view", chain)):
        with shown(mounts) as root:
            top, below = root.stat(), (root / "d").stat()
            assert (top.st_mode & 0o7777, top.st_uid) == (0o711, 3)
            assert (below.st_mode & 0o7777, below.st_uid, below.st_gid) == (0o1770, 7, 8)


def test_an_opaque_root_hides_all(space: Namespace, name: str) -> None:
    layers = (BASE, tar((".wh..wh..opq", b"", {}), ("only", b"o", {})), tar(("more", b"m", {})))
    chain = unpack(space, resolve(space.content, image(space, *layers)), snapshotter=name)
    assert seen(snapshotter(space.scope, name), chain) == {"only": "o", "more": "m"}


def test_labels_lead_from_the_image_to_its_tree(space: Namespace, name: str) -> None:
    found = resolve(space.content, image(space, BASE, NEXT))
    chain = unpack(space, found, snapshotter=name)
    labels = space.content.info(found.manifest.config.digest).labels
    assert labels[f"{GC_REF_SNAPSHOT}.{name}"] == chain
    for layer, diff_id in zip(found.layers, found.config.diff_ids, strict=True):
        assert space.content.diff_id(layer.digest) == diff_id
        assert space.content.info(layer.digest).labels[UNCOMPRESSED] == diff_id
    assert space.leases.list() == []


def counted(space: Namespace, done: list[str]) -> Callable[[Job, LayerWorker], Applied]:
    def apply(job: Job, worker: LayerWorker) -> Applied:
        done.append(job.layer.digest)
        return from_content(space)(job, worker)

    return apply


def test_what_is_there_is_not_unpacked_again(space: Namespace, name: str) -> None:
    done: list[str] = []
    one = resolve(space.content, image(space, BASE, NEXT))
    two = resolve(space.content, image(space, BASE, NEXT, LAST))
    for found in (one, one, two):
        unpack(space, found, snapshotter=name, source=counted(space, done))
    assert sorted(done) == sorted(layer.digest for layer in two.layers)


def test_another_namespace_with_the_same_layers_shares_the_tree(store: Store, name: str) -> None:
    done: list[str] = []
    for namespace in ("one", "two"):
        space = store.namespace(namespace)
        found = resolve(space.content, image(space, BASE, NEXT))
        chain = unpack(space, found, snapshotter=name, source=counted(space, done))
        assert seen(snapshotter(space.scope, name), chain)["d/three"] == "3"
    assert len(done) == 2
    assert len(list((store.root.snapshots / name).iterdir())) == 2


def test_an_image_without_layers(space: Namespace, name: str) -> None:
    assert unpack(space, resolve(space.content, image(space)), snapshotter=name) == ""


def nothing_is_left(space: Namespace, name: str) -> None:
    snapshots = snapshotter(space.scope, name)
    assert [one for one in snapshots.walk() if one.name.startswith("extract")] == []
    assert space.leases.list() == []
    trees = {str(row[0]) for row in rows(space)}
    assert {one.name for one in (space.scope.root.snapshots / name).iterdir()} == trees


def rows(space: Namespace) -> list[tuple[int]]:
    with space.scope.database.read() as sql:
        return sql.execute("SELECT id FROM trees").fetchall()


def test_a_layer_that_is_another_than_the_image_says(space: Namespace, name: str) -> None:
    wrong = [Digest.of(BASE), Digest.of(b"something else"), Digest.of(LAST)]
    found = resolve(space.content, image(space, BASE, NEXT, LAST, diff_ids=wrong))
    with pytest.raises(InvalidImage, match=r"configuration says sha256:[0-9a-f]+"):
        unpack(space, found, snapshotter=name)
    snapshots = snapshotter(space.scope, name)
    assert [one.name for one in snapshots.walk()] == [found.chain_ids[0]]  # this one is right
    assert space.content.diff_id(found.layers[1].digest) is None
    nothing_is_left(space, name)


def test_a_layer_that_is_none(space: Namespace, name: str) -> None:
    found = resolve(space.content, image(space, BASE, b"no archive" * 200))
    with pytest.raises(InvalidLayer):
        unpack(space, found, snapshotter=name)
    nothing_is_left(space, name)


def test_a_layer_that_is_not_here(space: Namespace, name: str) -> None:
    found = resolve(space.content, image(space, BASE, NEXT))
    space.content.delete(found.layers[1].digest)
    with pytest.raises(NotFound, match=found.layers[1].digest):
        unpack(space, found, snapshotter=name)
    nothing_is_left(space, name)


def test_a_layer_whose_bytes_have_changed(space: Namespace, name: str) -> None:
    found = resolve(space.content, image(space, BASE, NEXT))
    layer = found.layers[0]
    path = space.scope.root.blobs / "sha256" / layer.digest.hex
    data = bytearray(path.read_bytes())
    data[5] ^= 1  # gzip's time, which nobody looks at
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(StoreDamaged, match="other bytes"):
        unpack(space, found, snapshotter=name)
    nothing_is_left(space, name)


def test_progress_is_told(space: Namespace) -> None:
    told: list[tuple[str, Progress | None]] = []
    found = resolve(space.content, image(space, BASE, NEXT))
    unpack(space, found, report=lambda layer, progress: told.append((layer.digest, progress)))
    ended = [digest for digest, progress in told if progress is None]
    assert ended == [layer.digest for layer in found.layers]


def test_what_the_reporter_raises_ends_it(space: Namespace, name: str) -> None:
    found = resolve(space.content, image(space, BASE, NEXT))

    def enough(*_: object) -> None:
        raise UsageError("enough")

    with pytest.raises(UsageError, match="enough"):
        unpack(space, found, snapshotter=name, report=enough)
    nothing_is_left(space, name)


def test_what_is_still_being_unpacked_is_ended_before_it_is_removed(
    space: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that never ends, and one that is wrong."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    wrong = [Digest.of(b"another"), Digest.of(NEXT), Digest.of(LAST)]
    found = resolve(space.content, image(space, BASE, NEXT, LAST, diff_ids=wrong))
    reader, writer = os.pipe()
    started = threading.Event()

    def apply(job: Job, worker: LayerWorker) -> Applied:
        if job.layer.digest == found.layers[0].digest:
            assert started.wait(60)
            return from_content(space)(job, worker)
        started.set()
        return worker.apply(reader, job.tree, form=job.form)

    try:
        with pytest.raises(InvalidImage):
            unpack(space, found, snapshotter="overlayfs", source=apply)
    finally:
        os.close(reader)
        os.close(writer)
    nothing_is_left(space, "overlayfs")


UNPACK = """
import sys
from pathlib import Path
from mobyshell.core.store.store import Store
from mobyshell.core.store.unpack import from_content, unpack
from mobyshell.core.store.walk import resolve
with Store.open(Path(sys.argv[1])) as store:
    space = store.namespace("test")
    found = resolve(space.content, space.images.get("image").target)
    def source(job, worker):
        sys.stdout.write(job.layer.digest + "\\n")  # at once: print() of two threads mixes lines
        sys.stdout.flush()
        if sys.argv[3:] == ["hang"]:
            input()
        return from_content(space)(job, worker)
    print("ready", flush=True)
    input()
    unpack(space, found, snapshotter=sys.argv[2], source=source)
"""


def start(space: Namespace, name: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", UNPACK, str(space.scope.root.path), name, *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip


def say(worker: subprocess.Popen[str]) -> None:
    assert worker.stdin is not None
    worker.stdin.write("\n")
    worker.stdin.flush()


def hear(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def test_of_many_processes_one_unpacks(space: Namespace, name: str) -> None:
    space.images.put("image", image(space, BASE, NEXT, LAST))
    workers = [start(space, name) for _ in range(4)]
    assert [hear(one) for one in workers] == ["ready"] * 4
    for one in workers:
        say(one)
    outputs = [one.communicate(timeout=120)[0] for one in workers]
    assert [one.returncode for one in workers] == [0] * 4
    assert len("".join(outputs).split()) == 3
    nothing_is_left(space, name)


def test_who_waits_goes_on_when_the_other_is_killed(space: Namespace, name: str) -> None:
    space.images.put("image", image(space, BASE, NEXT))
    first, second = start(space, name, "hang"), start(space, name)
    try:
        assert hear(first) == hear(second) == "ready"
        say(first)
        assert hear(first).startswith("sha256:")  # has the locks, and is at it
        say(second)
        time.sleep(0.2)
        assert second.poll() is None
        found = resolve(space.content, space.images.get("image").target)
        with pytest.raises(TimedOut, match=f"process {first.pid}"):
            unpack(space, found, snapshotter=name, patience=0.1)
        os.kill(first.pid, signal.SIGKILL)
        output, _ = second.communicate(timeout=60)
        assert (second.returncode, len(output.split())) == (0, 2)
    finally:
        for one in (first, second):
            one.kill()
            one.communicate()
    found = resolve(space.content, space.images.get("image").target)
    snapshots = snapshotter(space.scope, name)
    assert seen(snapshots, found.chain_id)["d/three"] == "3"
    left = [one.name for one in snapshots.walk() if one.name.startswith("extract")]
    assert left  # held by the lease of a process that is dead: garbage collection's
    for key in left:
        snapshots.remove(key)


def test_killed_at_any_time(space: Namespace, name: str) -> None:
    tars = [BASE, NEXT, *(tar((f"file-{one}", bytes(300_000), {})) for one in range(3))]
    space.images.put("image", image(space, *tars))
    found = resolve(space.content, space.images.get("image").target)
    snapshots = snapshotter(space.scope, name)
    for round in range(4):
        worker = start(space, name)
        assert hear(worker) == "ready"
        say(worker)
        time.sleep(0.03 * round)
        worker.kill()
        worker.communicate()
        for number, chain in enumerate(found.chain_ids):
            try:
                snapshots.stat(chain)
            except NotFound:
                break
            files = seen(snapshots, chain)  # what is there is whole
            assert len([one for one in files if one.startswith("file-")]) == max(0, number - 1)
    unpack(space, found, snapshotter=name)
    assert len(str(seen(snapshots, found.chain_id)["file-2"])) == 300_000


IN_A_USER_NAMESPACE = """
import os, sys
from pathlib import Path
from mobyshell.core.store.snapshots.choose import default, snapshotter
from mobyshell.core.store.store import Store
from mobyshell.core.store.unpack import unpack
from mobyshell.core.store.walk import resolve
from tests.core.store.snapshots.conftest import seen
from tests.core.store.test_unpack import BASE, LAST, NEXT, image
with Store.open(Path(sys.argv[1])) as store:
    space = store.namespace("test")
    print(default(space.scope))
    chain = unpack(space, resolve(space.content, image(space, BASE, NEXT, LAST)))
    print(sorted(seen(snapshotter(space.scope), chain).items()))
"""


def test_in_a_user_namespace_of_one_id(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c",
         IN_A_USER_NAMESPACE, str(tmp_path / "store")],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "overlayfs",
        "[('d', None), ('d/three', 'changed'), ('d/two', '2'), ('new', None), ('new/deep', None),"
        " ('new/deep/x', 'x')]",
    ]
