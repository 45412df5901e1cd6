"""A power cut: the disk as it was at that moment, mounted again. What was acknowledged is whole.

The store lies on an ext4 in a file, through a loop device that keeps nothing back (direct I/O) and
a journal that is written only when somebody asks for it (`commit=600`). A copy of the file is
what the disk would hold.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound
from mobyshell.core.store.check import check_root
from mobyshell.core.store.store import Store
from tests.core.store.actor import EVERYTHING

pytestmark = [pytest.mark.root, pytest.mark.peer]

HERE = Path(__file__).parents[3]


def run(program: str, *words: str) -> str:
    """Run one of root's programs, wherever it is; what it printed."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    assert found, program
    return subprocess.run([found, *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """The file system in a file; the loop device goes with the mount. It writes past the page cache: so
    nothing of the file is to be there, or who reads it later may be given what it was."""
    place.mkdir(exist_ok=True)
    with image.open("rb+") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    device = run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
    try:
        run("mount", "-o", "commit=600", device, str(place))
    finally:
        run("losetup", "-d", device)  # when it is unmounted
    try:
        yield place
    finally:
        run("umount", str(place))


def cut(image: Path, copy: Path) -> None:
    """What would be left if the power went now, read past the page cache as well.

    The kernel may be writing at this moment, and a copy that has a block of before and another of
    after that is a disk which never was. Two that are the same are as it was between them.
    """
    second = copy.with_name(f"{copy.name}-again")
    for _ in range(100):
        for one in (copy, second):
            run("dd", f"if={image}", f"of={one}", "ibs=1M", "obs=4k", "iflag=direct", "conv=sparse",
                "status=none")  # fmt: skip
        if filecmp.cmp(copy, second, shallow=False):
            second.unlink()
            return
    raise AssertionError(f"{image} is written without end")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(48 << 20)
    run("mkfs.ext4", "-q", "-F", str(image))
    return image


def after_the_cut(copy: Path, place: Path, *, named: bool) -> list[str]:
    """What is wrong on the disk that was."""
    with mounted(copy, place):
        root = place / "store"
        if not root.exists():
            return ["nothing is there"] if named else []
        wrong = [f"{one.kind} {one.subject}: {one.problem}"
                 for one in check_root(root) if one.kind not in ("orphan", "directory")]  # fmt: skip
        with Store.open(root) as store:
            demo = store.namespace("demo")
            try:
                demo.images.get("image")
                for digest in EVERYTHING:
                    demo.content.verify(digest)
            except NotFound as error:
                if named or "image" not in error.message:
                    wrong.append(str(error))
    return wrong


@pytest.mark.parametrize("moment", range(6))
def test_what_was_acknowledged_is_whole(disk: Path, tmp_path: Path, moment: int) -> None:
    """At the last moment everything has been said; before, cuts come at calls on the way."""
    copy = tmp_path / "copy"
    with mounted(disk, tmp_path / "place") as place:
        words = [sys.executable, "-m", "tests.core.store.actor", str(place / "store")]
        if moment < 5:
            # ended as it asks for the disk for the K-th time
            words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync",
                     "-e", f"inject=fsync,fdatasync:signal=KILL:when={3 + 4 * moment}", *words]  # fmt: skip
        done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, timeout=120,
                              check=False)  # fmt: skip
        if moment == 5:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL, 0), done.stderr
        cut(disk, copy)
    assert after_the_cut(copy, tmp_path / "again", named="named" in done.stdout) == []
