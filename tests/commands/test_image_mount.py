"""`image mount`: files without copies, and nothing left of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.stored import real_image
from tests.conftest import Workplace

pytestmark = pytest.mark.root


FLAGS = os.ST_NOSUID | os.ST_NODEV


@pytest.fixture
def furnished(workplace: Workplace) -> Iterator[Workplace]:
    real_image(workplace.directory / "store")
    yield workplace
    workplace.run("image", "unmount", "mnt")
    assert str(workplace.directory) not in Path("/proc/self/mountinfo").read_text()


def test_it_is_there_and_gone_again(furnished: Workplace) -> None:
    place = furnished.directory / "mnt"
    for words in ((), ("--rw",), ("--snapshotter", "native")):
        assert furnished.ok("image", "mount", "alpine", "mnt", *words).strip() == str(place)
        assert (place / "hello").read_text() == "hello\n"
        assert os.statvfs(place).f_flag & FLAGS == FLAGS
        twice = furnished.run("image", "mount", "alpine", "mnt", *words)
        assert (twice.returncode, "snapshot unmount mnt` takes it" in twice.stderr) == (3, True)
        if words == ("--rw",):
            (place / "hello").write_text("changed")
        else:
            with pytest.raises(OSError, match="Read-only"):
                (place / "hello").write_text("changed")
        furnished.ok("image", "unmount", "mnt", *(words if words != ("--rw",) else ()))
        assert list(place.iterdir()) == []


def test_what_is_not_an_images_is_left_alone(furnished: Workplace) -> None:
    (furnished.directory / "mnt").mkdir()
    assert furnished.run("image", "unmount", "mnt").returncode == 3
    (furnished.directory / "file").touch()
    done = furnished.run("image", "mount", "alpine", "file")
    assert done.returncode == 1
    assert furnished.ok("snapshot", "ls", "kind==view") == ""


def test_what_a_reboot_has_unmounted_can_be_removed(furnished: Workplace) -> None:
    furnished.ok("image", "mount", "alpine", "mnt")
    from mobyshell.core.store.snapshots import mounting

    mounting.detach(furnished.directory / "mnt")
    furnished.ok("image", "unmount", "mnt")
    assert furnished.ok("snapshot", "ls", "kind==view") == ""


def test_garbage_collection_keeps_what_is_mounted(furnished: Workplace) -> None:
    furnished.ok("image", "mount", "alpine", "mnt")
    furnished.ok("image", "rm", "alpine")
    furnished.ok("store", "gc")
    assert (furnished.directory / "mnt/hello").read_text() == "hello\n"
    furnished.ok("image", "unmount", "mnt")
    furnished.ok("store", "gc")
    assert furnished.ok("snapshot", "ls") == ""
