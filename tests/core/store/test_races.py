"""Eight processes at the same names: one writes, nobody loses anything, garbage goes meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.check import check_store
from mobyshell.core.store.store import Store

HERE = Path(__file__).parents[3]
MANY = 8

BEGIN = """
import sys, time
from pathlib import Path
from mobyshell.core.errors import AlreadyExists, NotFound
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.store import Store
from tests.core.store.actor import name, put
store = Store.open(Path(sys.argv[1]))
me = sys.argv[2]
demo = store.namespace("demo")
print("ready", flush=True)
sys.stdin.readline()
"""

PULL = (
    BEGIN
    + """
data = b"one layer" * 20_000
for round in range(5):
    mine = data + bytes([round])
    digest = Digest.of(mine)
    with demo.leased() as held:
        try:
            with held.content.writer("layer", expected=digest, patience=60) as ingest:
                while ingest.offset < len(mine):
                    ingest.write(mine[ingest.offset : ingest.offset + 20_000])
                ingest.commit()
                print("wrote", round, flush=True)
        except AlreadyExists:
            pass
        held.content.verify(digest)
        name(held, f"image-{round}", digest)
"""
)

WORK = (
    BEGIN
    + """
for round in range(12):
    with demo.leased() as held:
        layer = put(held, f"layer {me}", f"layer {me} {round}".encode() * 3000)
        shared = put(held, "shared", f"shared {round}".encode() * 3000)
        labels = {"containerd.io/gc.ref.content.0": layer, "containerd.io/gc.ref.content.1": shared}
        manifest = put(held, f"manifest {me}", f"manifest {me} {round}".encode(), labels)
        for digest in (layer, shared, manifest):
            held.content.verify(digest)
        name(held, f"image {me}", manifest)
    for digest in (layer, shared, manifest):
        demo.content.verify(digest)
"""
)

COLLECT = (
    BEGIN
    + """
deadline = time.monotonic() + 120
runs = 0
while not Path(sys.argv[3]).exists() and time.monotonic() < deadline:
    store.collect()
    runs += 1
print(runs, flush=True)
"""
)


def start(root: Path, program: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(root), *words], cwd=HERE, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def release(*processes: subprocess.Popen[str]) -> None:
    """Let all go at once."""
    for one in processes:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in processes:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()


def end(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


def test_what_eight_want_is_written_once(tmp_path: Path) -> None:
    root = tmp_path / "store"
    Store.open(root).close()
    pullers = [start(root, PULL, str(number)) for number in range(MANY)]
    release(*pullers)
    wrote = sorted(line for one in pullers for line in end(one).splitlines())
    assert wrote == [f"wrote {round}" for round in range(5)]
    with Store.open(root) as store:
        assert len(store.namespace("demo").images.list()) == 5
        assert store.namespace("demo").leases.list() == []
        store.collect()
        assert check_store(store) == []


def test_collecting_meanwhile_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    root, over = tmp_path / "store", tmp_path / "over"
    Store.open(root).close()
    workers = [start(root, WORK, str(number)) for number in range(MANY - 2)]
    collectors = [start(root, COLLECT, "-", str(over)) for _ in range(2)]
    release(*workers, *collectors)
    for one in workers:
        end(one)
    over.touch()
    assert sum(int(end(one)) for one in collectors) > 2
    with Store.open(root) as store:
        store.collect()
        assert check_store(store) == []
        demo = store.namespace("demo")
        # of each the last image, its layer, and what all share
        wanted = {Digest.of(f"shared {11}".encode() * 3000)}
        for number in range(MANY - 2):
            wanted.add(Digest.of(f"layer {number} 11".encode() * 3000))
            wanted.add(Digest.of(f"manifest {number} 11".encode()))
        assert {one.digest for one in demo.content.walk()} == wanted
        assert len(list((root / "content/blobs/sha256").iterdir())) == len(wanted)
        assert list(store.root.ingests.iterdir()) == []


def test_a_collection_takes_no_longer_for_who_waits_than_it_must(tmp_path: Path) -> None:
    """Who wants the blobs alone is not kept waiting by those who come and go."""
    from mobyshell.core.store.content.blobs import Blobs

    root = tmp_path / "store"
    with Store.open(root) as store:
        program = BEGIN + (
            "from mobyshell.core.store.content.blobs import Blobs\n"
            "deadline = time.monotonic() + 30\n"
            "while not Path(sys.argv[3]).exists() and time.monotonic() < deadline:\n"
            "    with Blobs(store.root).door.shared():\n"
            "        time.sleep(0.01)\n"
        )
        over = tmp_path / "over"
        many = [start(root, program, str(number), str(over)) for number in range(4)]
        release(*many)
        began = time.monotonic()
        for _ in range(5):
            with Blobs(store.root).door.alone():
                pass
        took = time.monotonic() - began
        over.touch()
        for one in many:
            end(one)
        assert took < 25  # else they had to end first
