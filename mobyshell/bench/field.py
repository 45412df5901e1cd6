"""Where images are measured: a journaled file system of its own, and images as they are out there.

An ext4 without a journal, as some machines have it, refuses inodes that were freed a moment ago and
searches for others: what follows an `rm -rf` on it takes ten times as long. So the field is an ext4
with a journal, on a file, read and written directly.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mobyshell.bench import places
from mobyshell.bench.workshop import program
from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_config import ImageConfig, ImageProcess, RootFS
from mobyshell.core.oci.image_spec import dump_image, image_to_json
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.platform import host_platform
from mobyshell.core.store.layers import Compression, LayerWorker

_SIZE = 12 << 30
"""Bytes of the file, of which only what is used takes room."""
_PACKED = 499_162_500
"""When all files of an npm package were made (1985-10-26), in seconds."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def field() -> Iterator[Path]:
    """A directory on such a file system; gone with everything at the end."""
    with places.place("field", "/var/tmp") as home:
        disk, place = home / "disk", home / "field"
        place.mkdir()
        with open(disk, "wb") as file:
            file.truncate(_SIZE)
        _must([program("mkfs.ext4"), "-q", "-F", str(disk)])
        device = _must(
            [program("losetup"), "--direct-io=on", "--find", "--show", str(disk)]
        ).strip()
        _must([program("mount"), "-o", "noatime", device, str(place)])
        yield place


def _must(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise MobyshellError(f"{command[0]} exited with {done.returncode}: {said}")
    return done.stdout


def take(place: Path, files: int, size: int, *, begin: int = 0, largest: int = 1 << 62) -> None:
    """A tree of this machine's own files: so many, or so many bytes, whatever comes first."""
    count = total = seen = 0
    for top in ("/usr/lib", "/usr/share", "/usr/bin"):
        for directory, names, found in os.walk(top):
            names.sort()
            for name in sorted(found):
                path = os.path.join(directory, name)
                if (
                    os.path.islink(path)
                    or not os.path.isfile(path)
                    or os.path.getsize(path) > largest
                ):
                    continue
                seen += 1
                if seen <= begin:
                    continue
                target = Path(f"{place}{path}")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
                count, total = count + 1, total + target.stat().st_size
                if count >= files or total >= size:
                    return


def small(place: Path, files: int) -> None:
    """Many small files, as a tree of modules has them: of program text, of sizes that spread as such
    files' do (half are below 1.1 kB, the mean is about 3 kB). The same at every call."""
    text = b"".join(
        path.read_bytes() for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    )
    dice = random.Random(1)
    for number in range(files):
        target = place / f"modules/{number // 100:03}/{number:05}.js"
        target.parent.mkdir(parents=True, exist_ok=True)
        size = min(int(dice.lognormvariate(7.0, 1.4)), len(text) // 2)
        begin = dice.randrange(len(text) - size)
        target.write_bytes(text[begin : begin + size])
        os.utime(target, (_PACKED, _PACKED))


def write_layout(place: Path, trees: Sequence[Path], name: str) -> Path:
    """An OCI layout of an image with these trees as its layers, as an archive; gzip."""
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers, diff_ids = [], []
    nothing = place / "nothing"
    nothing.mkdir()
    lower = os.open(nothing, _DIRECTORY)
    with LayerWorker() as worker:
        for tree in trees:
            upper, output = (
                os.open(tree, _DIRECTORY),
                os.open(blobs / "new", os.O_RDWR | os.O_CREAT, 0o644),
            )
            done = worker.diff_trees(lower, upper, output, compression=Compression.GZIP, level=3)
            os.close(upper)
            os.close(output)
            digest = Digest(done.digest)
            (blobs / "new").rename(blobs / digest.hex)
            layers.append(
                Descriptor(media_type=media_types.OCI_LAYER_GZIP, digest=digest, size=done.size)
            )
            diff_ids.append(Digest(done.diff_id))
    os.close(lower)
    nothing.rmdir()
    platform = host_platform()
    config = ImageConfig(
        architecture=platform.architecture, os=platform.os, config=ImageProcess(cmd=("/bin/true",)),
        rootfs=RootFS(type="layers", diff_ids=tuple(diff_ids)),
    )  # fmt: skip
    described = describe(dump_image(config), media_types.OCI_CONFIG)
    manifest = Manifest(schema_version=2, media_type=media_types.OCI_MANIFEST, config=described,
                        layers=tuple(layers))  # fmt: skip
    target = describe(dump_image(manifest), media_types.OCI_MANIFEST)
    (blobs / described.digest.hex).write_bytes(dump_image(config))
    (blobs / target.digest.hex).write_bytes(dump_image(manifest))
    (place / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    named = {**image_to_json(target), "annotations": {
        "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }}  # fmt: skip
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    archive = place.with_suffix(".tar")
    _must(["tar", "-C", str(place), "-cf", str(archive), "oci-layout", "index.json", "blobs"])
    return archive
