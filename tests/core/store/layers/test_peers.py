"""Archives of other programs, as they unpack them; and ours, unpacked by them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.layers import Applied, Compression, Form, LayerWorker, Region
from tests.core.store.layers.conftest import Opened
from tests.core.store.layers.test_diff import change, furnish
from tests.core.store.layers.trees import look

pytestmark = [pytest.mark.root, pytest.mark.peer]

GNU = ("tar", "--xattrs", "--xattrs-include=*", "-p")


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)


def apply(worker: LayerWorker, archive: Path, tree: int, form: Form = Form.FLAT) -> Applied:
    with open(archive, "rb") as file:
        return worker.apply(Region(file.fileno()), tree, form=form)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    furnish(tmp_path / "source")
    return tmp_path / "source"


Tree = dict[str, tuple[Any, ...]]


def without(
    tree: Tree, *, nanoseconds: bool = True, xattrs: bool = True, links: bool = True
) -> Tree:
    """A tree without what a format cannot say."""
    return {
        name: (
            mode, uid, gid, time if nanoseconds else time // 10**9, content,
            same if links else None, found if xattrs else {},
        )
        for name, (mode, uid, gid, time, content, same, found) in tree.items()
    }  # fmt: skip


@pytest.mark.parametrize("form", Form)
def test_gnu_tar_in_pax_says_all(
    worker: LayerWorker, tmp_path: Path, opened: Opened, source: Path, form: Form
) -> None:
    run(*GNU, "--format=pax", "-C", source, "-cf", tmp_path / "a.tar", ".")
    done = apply(worker, tmp_path / "a.tar", opened(tmp_path / "tree"), form)
    assert look(tmp_path / "tree") == look(source)
    assert (done.implied, done.left_out) == ((), ())


@pytest.mark.parametrize("kind", ["gnu", "ustar", "oldgnu", "v7"])
def test_gnu_tar_in_its_older_formats(
    worker: LayerWorker, tmp_path: Path, opened: Opened, source: Path, kind: str
) -> None:
    """Each as GNU tar itself unpacks it."""
    os.chown(source / "sticky", 1000, 0o7777777)
    shutil.rmtree(source / ("d" * 120))
    (source / ("n" * 200)).unlink()
    (source / "long-link").unlink()
    os.utime(source / "a", (1, 1))  # before 1970 only in base 256
    if kind in ("gnu", "oldgnu"):
        (source / ("m" * 150)).write_text("by L")
        os.symlink("k" * 300, source / "by K")
        os.chown(source / "holes", 0xFFFFFFF0, 2**31)
        os.utime(source / "holes", (-5, -5))
    if kind == "v7":
        for name in ("null", "disk", "fifo"):
            (source / name).unlink()
    run("tar", f"--format={kind}", "-C", source, "-cf", tmp_path / "a.tar", ".")
    (tmp_path / "theirs").mkdir()
    run("tar", "-p", "-C", tmp_path / "theirs", "-xf", tmp_path / "a.tar")
    apply(worker, tmp_path / "a.tar", opened(tmp_path / "ours"))
    assert look(tmp_path / "ours") == look(tmp_path / "theirs")


@pytest.mark.parametrize("kind", ["pax", "ustar", "gnutar", "v7tar"])
def test_bsdtar(
    worker: LayerWorker, tmp_path: Path, opened: Opened, source: Path, kind: str
) -> None:
    (source / os.fsdecode(b"not\xffutf8")).unlink()  # it has words for it that nobody reads
    os.utime(source / "a", (1, 1))
    if kind in ("ustar", "v7tar"):
        os.chown(source / "sticky", 1000, 1000)
        shutil.rmtree(source / ("d" * 120))
        (source / ("n" * 200)).unlink()
        (source / "long-link").unlink()
    if kind == "v7tar":
        for name in ("null", "disk", "fifo"):
            (source / name).unlink()
    command = ["bsdtar", f"--format={kind}", "-C", source, "-cf", tmp_path / "a.tar", "."]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run([*map(str, command)], check=True, env=environment)
    apply(worker, tmp_path / "a.tar", opened(tmp_path / "ours"))
    exact = kind == "pax"
    ours, wanted = look(tmp_path / "ours"), look(source)
    if not exact:
        ours, wanted = (without(one, nanoseconds=False, xattrs=False) for one in (ours, wanted))
    if kind == "gnutar":  # its device numbers are those of old systems
        ours.pop("disk")
        wanted.pop("disk")
    assert ours == wanted


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_python_tarfile(
    worker: LayerWorker, tmp_path: Path, opened: Opened, source: Path, kind: int
) -> None:
    os.utime(source / "a", (1, 1))
    os.utime(source / "link", (1, 1), follow_symlinks=False)
    with tarfile.open(tmp_path / "a.tar", "w", format=kind) as tar:
        tar.add(source, ".")
    apply(worker, tmp_path / "a.tar", opened(tmp_path / "ours"))
    ours, wanted = look(tmp_path / "ours"), look(source)
    ours, wanted = (without(one, nanoseconds=False, xattrs=False) for one in (ours, wanted))
    assert ours == wanted  # its times are floating point numbers


def test_busybox_tar(worker: LayerWorker, tmp_path: Path, opened: Opened, source: Path) -> None:
    os.chown(source / "sticky", 1000, 1000)
    os.utime(source / "a", (1, 1))
    (source / "disk").unlink()
    run("busybox", "tar", "-C", source, "-cf", tmp_path / "a.tar", ".")
    (tmp_path / "theirs").mkdir()
    run("busybox", "tar", "-p", "-C", tmp_path / "theirs", "-xf", tmp_path / "a.tar")
    apply(worker, tmp_path / "a.tar", opened(tmp_path / "ours"))
    # it leaves directories and links the time at which it made them
    assert look(tmp_path / "ours", times=False) == look(tmp_path / "theirs", times=False)


@pytest.mark.parametrize("kind", ["0.0", "0.1", "1.0", "gnu"])
def test_files_with_holes(worker: LayerWorker, tmp_path: Path, opened: Opened, kind: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, count in (("few", 3), ("many", 300), ("none", 0)):
        with open(source / name, "wb") as file:
            for number in range(count):
                file.seek(number * (64 << 10) + 4096)
                file.write(bytes([number % 255 + 1]) * 5000)
            file.truncate(count * (64 << 10) + 100_000)
    words = ["--format=gnu"] if kind == "gnu" else ["--format=pax", f"--sparse-version={kind}"]
    run("tar", "-S", *words, "-C", source, "-cf", tmp_path / "a.tar", ".")
    apply(worker, tmp_path / "a.tar", opened(tmp_path / "ours"))
    exact = kind != "gnu"
    assert look(tmp_path / "ours", times=exact) == look(source, times=exact)
    for name in ("few", "many", "none"):
        blocks = [(place / name).stat().st_blocks for place in (source, tmp_path / "ours")]
        assert blocks[1] <= blocks[0] + 8


@pytest.mark.parametrize("command", [[*GNU, "-xf"], ["bsdtar", "-p", "-xf"]])
def test_what_we_write_others_read(
    worker: LayerWorker, tmp_path: Path, opened: Opened, source: Path, command: list[str]
) -> None:
    if command[0] == "bsdtar":
        (source / os.fsdecode(b"not\xffutf8")).unlink()
        os.utime(source / "a", (1, 1))  # it reads -1.5 as -0.5
    with open(tmp_path / "a.tar", "wb") as file:
        worker.diff_upper(opened(source), file.fileno())
    (tmp_path / "theirs").mkdir()
    arguments = [*command, str(tmp_path / "a.tar"), "-C", str(tmp_path / "theirs")]
    subprocess.run(arguments, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    ours, wanted = look(tmp_path / "theirs"), look(source)
    if command[0] == "bsdtar":
        wanted["."] = ours["."]  # made before
    assert ours == wanted


class Layout:
    """An OCI layout of one image, made by hand."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "blobs/sha256").mkdir(parents=True)
        (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def put(self, data: bytes, kind: str) -> dict[str, object]:
        digest = Digest.of(data)
        (self.place / "blobs/sha256" / digest.hex).write_bytes(data)
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def image(self, layers: Sequence[tuple[bytes, str]]) -> None:
        config = {
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.put(json.dumps(config).encode(), "config.v1+json"),
            "layers": [self.put(data, "layer.v1.tar+gzip") for data, _ in layers],
        }  # fmt: skip
        one = self.put(json.dumps(manifest).encode(), "manifest.v1+json")
        one["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        index = {"schemaVersion": 2, "manifests": [one]}
        (self.place / "index.json").write_text(json.dumps(index))


def test_umoci_makes_the_same_of_our_layers(
    worker: LayerWorker, tmp_path: Path, opened: Opened, source: Path
) -> None:
    """Two layers, the second with everything that a container does to the first."""
    (source / os.fsdecode(b"not\xffutf8")).unlink()
    (source / "new\nline").unlink()
    blobs = []
    run("cp", "-a", source, tmp_path / "changed")
    change(tmp_path / "changed")
    (tmp_path / "empty").mkdir()
    for number, (lower, upper) in enumerate(
        ((tmp_path / "empty", source), (source, tmp_path / "changed"))
    ):
        with open(tmp_path / f"{number}.gz", "wb") as file:
            done = worker.diff_trees(
                opened(lower), opened(upper), file.fileno(), compression=Compression.GZIP
            )
        blobs.append(((tmp_path / f"{number}.gz").read_bytes(), done.diff_id))
        apply(worker, tmp_path / f"{number}.gz", opened(tmp_path / "ours"))
    layout = Layout(tmp_path / "layout")
    layout.image(blobs)
    run("umoci", "raw", "unpack", "--image", f"{layout.place}:latest", tmp_path / "theirs")
    assert look(tmp_path / "ours") == look(tmp_path / "changed")
    theirs, ours = look(tmp_path / "theirs"), look(tmp_path / "ours")
    assert stat.S_ISDIR((tmp_path / "theirs").stat().st_mode)
    assert without(theirs) == without(ours)
