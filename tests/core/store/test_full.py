"""A full disk: an error that says so, room given back, and everything else as it was."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.check import check_root
from mobyshell.core.store.content.ingest import Ingest
from mobyshell.core.store.store import Namespace, Store
from tests.core.store.actor import put
from tests.core.store.test_power_cut import mounted, run
from tests.core.store.unpack_actor import act

pytestmark = pytest.mark.root

TARGET = Descriptor(media_type="m/m", digest=Digest.of(b"x"), size=1)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB and few inodes."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,nr_inodes=200", "small", str(place)],
                   check=True)  # fmt: skip
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def too_much(ingest: Ingest) -> None:
    for _ in range(100):
        ingest.write(os.urandom(1 << 20))


def too_many(space: Namespace) -> None:
    for number in range(400):
        put(space, f"b{number}", str(number).encode())


def name_many(space: Namespace) -> None:
    for number in range(200):
        space.images.create(f"more-{number}", TARGET, {"x": "y" * 3000})


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_blob_that_does_not_fit(small: Path) -> None:
    with Store.open(small / "store") as store:
        demo = store.namespace("demo")
        with demo.leased() as held:
            kept = put(held, "kept", b"kept" * 1000)
            held.images.create("kept", Descriptor(media_type="m/m", digest=kept, size=4000))
            with held.content.writer("big") as ingest:
                with pytest.raises(SyscallFailed) as caught:
                    too_much(ingest)
                assert caught.value.errno == errno.ENOSPC
                assert "store gc" in caught.value.hint
                assert ingest.offset == 0  # it gave its room back
            put(held, "small", b"small")
        demo.content.abort("big")
        demo.content.verify(kept)
        store.collect()
    assert check_root(small / "store") == []


def test_a_row_that_does_not_fit(small: Path) -> None:
    with Store.open(small / "store") as store:
        demo = store.namespace("demo")
        demo.images.create("before", TARGET)
        filler = small / "filler"
        with pytest.raises(OSError, match="No space"):
            fill(filler)
        failed = 0
        for number in range(200):
            try:
                demo.images.create(f"image-{number}", TARGET, {"x": "y" * 4000})
            except MobyshellError as error:
                assert "disk" in (text := f"{error} {error.hint}") or "space" in text, text
                failed += 1
                break
        assert failed
        count = len(demo.images.list())
        filler.unlink()
        demo.images.create("after", TARGET)
        assert len(demo.images.list()) == count + 1
    with Store.open(small / "store") as store:
        assert store.namespace("demo").images.get("before")
        assert [one for one in check_root(small / "store") if one.kind != "image"] == []


def test_a_check_says_what_it_had_no_room_for(small: Path) -> None:
    with Store.open(small / "store") as store, store.namespace("demo").leased() as held:
        act(held, "native", 0)
        assert check_root(small / "store", unpack=True) == []
        with pytest.raises(OSError, match="No space"):
            fill(small / "filler")
        (found,) = check_root(small / "store", unpack=True)
        assert (found.kind, found.mendable) == ("room", False)
        assert "too full" in found.problem
        (small / "filler").unlink()
        assert check_root(small / "store", unpack=True) == []


def test_no_inodes_left(small: Path) -> None:
    with Store.open(small / "store") as store:
        demo = store.namespace("demo")
        with demo.leased() as held, pytest.raises(SyscallFailed) as caught:
            too_many(held)
        assert caught.value.errno == errno.ENOSPC
        store.collect()
        with demo.leased() as held:
            held.content.verify(put(held, "again", b"again"))
            store.collect()
    assert [one for one in check_root(small / "store") if one.kind != "ingest"] == []


def test_what_fills_the_disk_can_be_removed(small: Path) -> None:
    """With no byte left, and nobody who had the store open before."""
    with Store.open(small / "store") as store:
        demo = store.namespace("demo")
        with demo.leased() as held:
            digest = put(held, "big", os.urandom(3 << 20))
            held.images.create("big", Descriptor(media_type="m/m", digest=digest, size=3 << 20))
    with pytest.raises(OSError, match="No space"):
        fill(small / "filler")
    with Store.open(small / "store") as store:
        demo = store.namespace("demo")
        assert [one.name for one in demo.images.list()] == ["big"]
        demo.images.delete("big")
        assert store.collect().freed > 3_000_000
    with Store.open(small / "store") as store:
        store.namespace("demo").images.create("small", TARGET)
        store.collect()  # keeps room again
    assert list((small / "store").glob("meta.db-reserve-*")) == []  # too little for that
    (small / "filler").unlink()


def test_a_writer_who_was_there_before_can_remove_it(tmp_path: Path) -> None:
    """On ext4 as it comes: of what it counts as free to root, some is for its own bookkeeping."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    run("mkfs.ext4", "-q", "-F", str(image))
    with mounted(image, tmp_path / "place") as place, Store.open(place / "store") as store:
        demo = store.namespace("demo")
        for number in range(20):
            demo.images.create(f"image-{number}", TARGET, {"x": "y" * 3000})
        with pytest.raises(OSError, match="No space"):
            fill(place / "filler")
        with pytest.raises(MobyshellError, match="space"):
            name_many(demo)
        for number in range(20):
            demo.images.delete(f"image-{number}")
