"""Images in archives: ours, and those of others, into a store and out of it again."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import (
    InvalidImage,
    InvalidLayer,
    MobyshellError,
    NotFound,
    SyscallFailed,
    UsageError,
)
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.platform import matcher, parse_platform
from mobyshell.core.store.archives import (
    Imported,
    export_images,
    export_layout,
    import_images,
    open_source,
)
from mobyshell.core.store.gc.collect import collect
from mobyshell.core.store.snapshots.choose import snapshotter
from mobyshell.core.store.stack import Stack
from mobyshell.core.store.store import Namespace, Store
from mobyshell.core.store.walk import Resolved, resolve
from tests.core.store import images

pytestmark = pytest.mark.root

AMD64, ARM64 = (parse_platform(f"linux/{name}") for name in ("amd64", "arm64"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def namespace(store: Store) -> Namespace:
    return store.namespace("test")


def layout(tmp_path: Path, name: str = "docker.io/library/made:1") -> Path:
    """A layout in a directory, of an image for two platforms, made by another store."""
    with Store.open(tmp_path / "other") as other:
        made = other.namespace("x")
        target = images.index(
            made.content,
            images.image(made.content, [{"a": b"arm\n"}], architecture="arm64", platform=ARM64),
            images.image(made.content, [{"a": b"below\n", "gone": b"x"}, {"a": b"above\n", ".wh.gone": b""}],
                         platform=AMD64, config={"Cmd": ["/a"]}),
        )  # fmt: skip
        made.images.put(name, target)
        with open(tmp_path / "layout.tar", "wb") as file:
            export_images(made, made.images.list(), file)
    place = tmp_path / "layout"
    with tarfile.open(tmp_path / "layout.tar") as archive:
        archive.extraction_filter = getattr(
            tarfile, "data_filter", None
        )  # Debian's Python has none
        archive.extractall(place)
    return place


def for_amd64(tmp_path: Path) -> tuple[Resolved, dict[Digest, bytes]]:
    """The image of the layout for that, and the bytes of its parts."""
    with Store.open(tmp_path / "other") as other:
        made = other.namespace("x")
        found = resolve(made.content, made.images.list()[0].target, matcher(AMD64))
        parts = (found.descriptor, found.manifest.config, *found.layers)
        return found, {one.digest: made.content.read(one.digest) for one in parts}


def load(namespace: Namespace, path: Path, **more: Any) -> list[Imported]:
    with open_source(path, namespace.scope.root.ingests) as source:
        return import_images(namespace, source, **more)


def seen(namespace: Namespace, chain_id: str) -> dict[str, str]:
    """The files of a snapshot."""
    place = snapshotter(namespace.scope).directories(chain_id)
    with Stack([place.directory, *place.lowers]) as stack:
        return {entry.name: stack.read(entry.name, 100).decode() for entry in stack.ls()}


def test_a_directory_and_its_archive_are_the_same_image(
    namespace: Namespace, tmp_path: Path
) -> None:
    place = layout(tmp_path)
    (one,) = load(namespace, place)
    assert one.image.name == "docker.io/library/made:1"
    assert seen(namespace, one.chain_id) == {"a": "above\n"}
    (again,) = load(namespace, tmp_path / "layout.tar", name="again")
    assert (again.image.target.digest, again.chain_id) == (one.image.target.digest, one.chain_id)
    assert [one.name for one in namespace.images.list()] == [
        "docker.io/library/again:latest", "docker.io/library/made:1",
    ]  # fmt: skip
    # both platforms are there, and everything survives garbage collection
    arm = resolve(namespace.content, one.image.target, matcher(ARM64))
    assert all(namespace.content.has(part.digest) for part in arm.manifest.children)


def test_of_an_index_only_what_is_asked_for(namespace: Namespace, tmp_path: Path) -> None:
    place = layout(tmp_path)
    (one,) = load(namespace, place, platform=matcher(AMD64), unpacked=False)
    assert one.chain_id == ""
    assert (
        resolve(namespace.content, one.image.target, matcher(AMD64)).config.architecture == "amd64"
    )
    with pytest.raises(NotFound):
        resolve(namespace.content, one.image.target, matcher(ARM64))
    with pytest.raises(NotFound, match="riscv64"):
        load(namespace, place, platform=matcher(parse_platform("linux/riscv64")))


def test_what_is_exported_is_the_same_each_time_and_comes_back(
    store: Store, namespace: Namespace, tmp_path: Path
) -> None:
    place = layout(tmp_path)
    load(namespace, place)
    written = [io.BytesIO(), io.BytesIO()]
    for file in written:
        export_images(namespace, namespace.images.list(), file)
    assert written[0].getvalue() == written[1].getvalue() == (tmp_path / "layout.tar").read_bytes()
    (tmp_path / "out.tar.gz").write_bytes(gzip.compress(written[0].getvalue()))
    (back,) = load(store.namespace("second"), tmp_path / "out.tar.gz")
    assert back.image.target.digest == namespace.images.list()[0].target.digest


def test_a_pipe_is_read_to_its_end(namespace: Namespace, tmp_path: Path) -> None:
    layout(tmp_path)
    with subprocess.Popen(["cat", str(tmp_path / "layout.tar")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with open_source(process.stdout.fileno(), namespace.scope.root.ingests) as source:
            (one,) = import_images(namespace, source)
    assert one.chain_id


def docker_archive(path: Path, *, link: bool = False, tags: Any = ("made:2",)) -> None:
    """As `docker save` wrote them until version 24."""
    layers = [images.layer({"a": b"below\n"}), images.layer({"b": b"above\n"})]
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/a"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(one) for one in layers]},
    }).encode()  # fmt: skip
    manifest = [{"Config": "conf.json", "RepoTags": list(tags) if tags else None,
                 "Layers": ["1/layer.tar", "2/layer.tar"]}]  # fmt: skip
    with tarfile.open(path, "w") as archive:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        add("conf.json", config)
        add("1/layer.tar", layers[0])
        add("elsewhere/layer.tar" if link else "2/layer.tar", layers[1])
        if link:
            member = tarfile.TarInfo("2/layer.tar")
            member.type, member.linkname = tarfile.SYMTYPE, "../elsewhere/layer.tar"
            archive.addfile(member)
        add("manifest.json", json.dumps(manifest).encode())


@pytest.mark.parametrize("link", [False, True])
def test_dockers_older_archives(namespace: Namespace, tmp_path: Path, link: bool) -> None:
    docker_archive(tmp_path / "docker.tar", link=link)
    (one,) = load(namespace, tmp_path / "docker.tar")
    assert one.image.name == "docker.io/library/made:2"
    assert seen(namespace, one.chain_id) == {"a": "below\n", "b": "above\n"}


def test_an_image_without_a_name_must_be_given_one(namespace: Namespace, tmp_path: Path) -> None:
    docker_archive(tmp_path / "docker.tar", tags=())
    with pytest.raises(UsageError, match="no name"):
        load(namespace, tmp_path / "docker.tar")
    (one,) = load(namespace, tmp_path / "docker.tar", name="example.com/x:1")
    assert one.image.name == "example.com/x:1"


# what strangers give us


@contextmanager
def nothing_is_left(namespace: Namespace) -> Iterator[None]:
    """No name; and of whole layers before the bad one nothing that is not collected."""
    yield
    assert namespace.images.list() == []
    root = namespace.scope.root
    cleanup = snapshotter(namespace.scope).cleanup
    collect(root, namespace.scope.database, namespace.scope.clock, [cleanup])
    assert [one for one in root.snapshots.glob("*/*") if one.is_dir()] == []
    assert list(root.blobs.glob("*/*")) == []


def rewritten(place: Path, digest: Digest, data: bytes) -> None:
    path = place / "blobs" / digest.algorithm / digest.hex
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
def test_bytes_that_are_not_what_their_name_says(
    namespace: Namespace, tmp_path: Path, part: str
) -> None:
    place = layout(tmp_path)
    found, content = for_amd64(tmp_path)
    victim = {"manifest": found.descriptor, "config": found.manifest.config,
              "layer": found.layers[1]}[part]  # fmt: skip
    data = bytearray(content[victim.digest])
    data[len(data) // 2] ^= 4
    rewritten(place, victim.digest, bytes(data))
    with nothing_is_left(namespace), pytest.raises((InvalidImage, InvalidLayer)):
        load(namespace, place)
    rewritten(place, victim.digest, content[victim.digest])
    assert load(namespace, place)[0].chain_id


def test_a_layer_that_is_missing(namespace: Namespace, tmp_path: Path) -> None:
    place = layout(tmp_path)
    digest = for_amd64(tmp_path)[0].layers[0].digest
    (place / "blobs/sha256" / digest.hex).unlink()
    with nothing_is_left(namespace), pytest.raises(NotFound, match=digest.hex):
        load(namespace, place)


def test_links_in_a_directory_lead_nowhere(namespace: Namespace, tmp_path: Path) -> None:
    place = layout(tmp_path)
    (place / "manifest.json").unlink()
    (tmp_path / "secret").write_text((place / "index.json").read_text())
    (place / "index.json").unlink()
    (place / "index.json").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidImage, match=r"index\.json"):
        load(namespace, place)
    (place / "index.json").unlink()
    os.mkfifo(place / "index.json")
    with pytest.raises(MobyshellError):
        load(namespace, place)


HOSTILE = {
    "empty": b"",
    "noise": os.urandom(4096),
    "text": b"these are no images\n" * 100,
    "zeros": bytes(10240),
    "cut": None,
    "xz": b"\xfd7zXZ\0" + bytes(100),
    "xz of noise": lzma.compress(os.urandom(4096)),
    "xz cut": lzma.compress(os.urandom(4096))[:-20],
    "bzip2": b"BZh9" + bytes(100),
    "bzip2 cut": bz2.compress(os.urandom(4096))[:-20],
    "lz4": b"\x04\x22\x4d\x18" + bytes(100),
    "gzip of noise": gzip.compress(os.urandom(4096)),
    "gzip cut": gzip.compress(bytes(100000))[:50],
}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_may_be_compressed_as_a_whole(
    namespace: Namespace, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """Also in several streams, as pbzip2 and pixz write them, with zeros behind, and through a pipe."""
    layout(tmp_path)
    plain = (tmp_path / "layout.tar").read_bytes()
    half = len(plain) // 2
    packed = tmp_path / "packed"
    packed.write_bytes(pack(plain[:half]) + pack(plain[half:]) + bytes(512))
    (one,) = load(namespace, packed, name="packed")
    assert seen(namespace, one.chain_id) == {"a": "above\n"}
    with subprocess.Popen(["cat", packed], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        with open_source(cat.stdout.fileno(), namespace.scope.root.ingests) as source:
            (again,) = import_images(namespace, source, name="again")
    assert again.image.target == one.image.target


def test_a_name_with_another_digest_is_refused(namespace: Namespace, tmp_path: Path) -> None:
    place = layout(tmp_path)
    with (
        nothing_is_left(namespace),
        pytest.raises(UsageError, match="nothing else than what it says"),
    ):
        load(namespace, place, name=f"made@{Digest.of(b'')}")
    (one,) = load(namespace, place)
    (again,) = load(namespace, place, name=f"made@{one.image.target.digest}")
    assert again.image.target == one.image.target


def test_an_index_of_which_nothing_is_there(namespace: Namespace, tmp_path: Path) -> None:
    place = layout(tmp_path)
    top = json.loads((place / "index.json").read_text())["manifests"][0]["digest"].partition(":")[2]
    for blob in (place / "blobs/sha256").iterdir():
        if blob.name != top:
            blob.unlink()
    with (
        nothing_is_left(namespace),
        pytest.raises(NotFound, match=f"sha256:{top} names, nothing is"),
    ):
        load(namespace, place)


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_archive_of_images(namespace: Namespace, tmp_path: Path, kind: str) -> None:
    data = HOSTILE[kind]
    if data is None:
        layout(tmp_path)
        data = (tmp_path / "layout.tar").read_bytes()[:2000]
    (tmp_path / "bad").write_bytes(data)
    with nothing_is_left(namespace), pytest.raises(MobyshellError) as caught:
        load(namespace, tmp_path / "bad")
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("index.json", "[]"),
        ("index.json", '{"schemaVersion": 2, "manifests": [], "layers": []}'),
        ("index.json", "{" * 100),
        ("index.json", '{"a": 1, "a": 2}'),
        ("oci-layout", '{"imageLayoutVersion": "9.0.0"}'),
        ("oci-layout", '{"imageLayoutVersion": 1}'),
    ],
)  # fmt: skip
def test_documents_that_break_the_format(
    namespace: Namespace, tmp_path: Path, name: str, text: str
) -> None:
    place = layout(tmp_path)
    (place / name).write_text(text)
    with nothing_is_left(namespace), pytest.raises(MobyshellError):
        load(namespace, place)


# other programs


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@pytest.mark.peer
@pytest.mark.parametrize("form", ["oci", "oci-archive", "docker-archive", "dir"])
def test_skopeo_reads_ours_and_we_read_skopeos(
    namespace: Namespace, tmp_path: Path, form: str
) -> None:
    assert shutil.which("skopeo"), "skopeo is not installed: see .ci/packages"
    layout(tmp_path)
    theirs = tmp_path / "theirs"
    run("skopeo", "--insecure-policy", "copy", "--override-arch", "amd64",
        f"oci-archive:{tmp_path}/layout.tar:1",
        f"{form}:{theirs}" if form == "dir" else f"{form}:{theirs}:made:1")  # fmt: skip
    (one,) = load(namespace, theirs, name="made:1")
    assert seen(namespace, one.chain_id) == {"a": "above\n"}
    ours = tmp_path / "ours.tar"
    with open(ours, "wb") as file:
        export_images(namespace, namespace.images.list(), file)
    for kind in ("oci-archive", "docker-archive"):
        name = "1" if kind == "oci-archive" else "docker.io/library/made:1"
        inspected = json.loads(run("skopeo", "inspect", "--config", f"{kind}:{ours}:{name}"))
        assert inspected["config"]["Cmd"] == ["/a"]


@pytest.mark.peer
def test_a_directory_that_skopeo_reads(namespace: Namespace, tmp_path: Path) -> None:
    layout(tmp_path)
    (one,) = load(namespace, tmp_path / "layout.tar", name="made:1")
    place = tmp_path / "out"
    place.mkdir()
    export_layout(namespace, namespace.images.list(), place)
    assert {path.name for path in place.iterdir()} == {
        "oci-layout", "index.json", "manifest.json", "blobs",
    }  # fmt: skip
    # podman takes a short name for one of localhost
    (entry,) = json.loads((place / "manifest.json").read_text())
    assert entry["RepoTags"] == ["docker.io/library/made:1"]
    inspected = json.loads(run("skopeo", "inspect", "--config", f"oci:{place}:1"))
    assert inspected["config"]["Cmd"] == ["/a"]
    (again,) = load(namespace, place, name="again:1")
    assert again.chain_id == one.chain_id
    with pytest.raises(SyscallFailed, match="not empty"):
        export_layout(namespace, namespace.images.list(), place)
    assert not list(tmp_path.glob(".out*"))
