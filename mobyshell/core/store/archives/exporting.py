"""Export: images of a namespace as one archive or directory, which OCI's tools and Docker's both read.

Owns what is in it and in which order; the same images make the same bytes. Parts of an index that
are not here are left out: whoever pulled one platform can export that one.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from mobyshell.core.errors import NotFound, SyscallFailed
from mobyshell.core.linux.files import sync_directory, sync_filesystem
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import image_to_json
from mobyshell.core.oci.platform import Matcher
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.store.archives.formats import CONTAINERD_NAME, REF_NAME
from mobyshell.core.store.images import Image
from mobyshell.core.store.store import Namespace
from mobyshell.core.store.walk import Resolved, everything, missing, resolve, variants

_BLOCK = 512
_RECORD = 10240
"""Bytes that an archive's length is a multiple of, as tar(1) writes them."""


def export_images(
    namespace: Namespace, images: Iterable[Image], file: BinaryIO, *,
    platform: Matcher | None = None,
) -> None:  # fmt: skip
    """Write `images` to `file`, which need not be able to seek.

    `platform`: of an index only the image for it, instead of all that is here.

    Raises:
        NotFound: of an image nothing is here that could be run; or not for `platform`.
        StoreDamaged: a blob is missing, or of another size.
    """
    with namespace.leased() as held:
        export = _Export(held, platform)
        for image in images:
            export.add(image)
        export.write(file)


def export_layout(
    namespace: Namespace, images: Iterable[Image], directory: Path, *,
    platform: Matcher | None = None,
) -> None:  # fmt: skip
    """Write `images` as an OCI layout into `directory`, which is not there yet, or empty. It appears
    at once, whole and on the disk.

    Raises as `export_images`; and SyscallFailed (ENOTEMPTY for one with something in it).
    """
    with namespace.leased() as held:
        export = _Export(held, platform)
        for image in images:
            export.add(image)
        temporary = directory.with_name(f".{directory.name}.{os.getpid()}.new")
        try:
            temporary.mkdir(0o755)
            export.write_to(_Directory(temporary))
            fd = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_filesystem(fd, path=str(temporary))
            finally:
                os.close(fd)
            temporary.rename(directory)
            sync_directory(directory.parent)
        except OSError as error:
            raise SyscallFailed.of(error, "write", path=str(directory)) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


class _Members(Protocol):
    """Where files are written, one after the other."""

    def add(self, name: str, data: bytes) -> None: ...

    def begin(self, name: str, size: int) -> None: ...

    def put(self, data: bytes) -> None: ...

    def end(self) -> None: ...


class _Export:
    def __init__(self, held: Namespace, platform: Matcher | None) -> None:
        self._content, self._platform = held.content, platform
        self._index: list[dict[str, Any]] = []
        self._docker: dict[Digest, dict[str, Any]] = {}
        self._blobs: dict[Digest, Descriptor] = {}

    def add(self, image: Image) -> None:
        target = image.target
        if self._platform is not None:
            target = resolve(self._content, target, self._platform).descriptor
        elif not any(one.present for one in variants(self._content, target)):
            raise NotFound(f"{image.name}: of no platform everything is here",
                           hint=f"pull it again: mobyshell image pull {image.name}")  # fmt: skip
        for one in everything(self._content, target):
            self._content.claim(one.digest)
            self._blobs[one.digest] = one
        entry: dict[str, Any] = image_to_json(target)
        reference = parse_reference(image.name)
        names = {CONTAINERD_NAME: image.name}
        if reference.tag:
            names[REF_NAME] = reference.tag
        self._index.append({**entry, "annotations": {**entry.get("annotations", {}), **names}})
        self._add_for_docker(image)

    def _add_for_docker(self, image: Image) -> None:
        try:
            found: Resolved = resolve(self._content, image.target, self._platform)
        except NotFound:
            return  # for another machine: Docker would not run it
        if missing(self._content, found):
            return
        digest = found.manifest.config.digest
        entry = self._docker.setdefault(digest, {
            "Config": _place(digest), "RepoTags": [],
            "Layers": [_place(one.digest) for one in found.layers],
        })  # fmt: skip
        # it takes names with a tag only; whole ones, as podman takes short ones for localhost's
        reference = parse_reference(image.name)
        if reference.tag or not reference.digest:
            entry["RepoTags"].append(f"{reference.name}:{reference.tag or 'latest'}")

    def write(self, file: BinaryIO) -> None:
        self.write_to(_Archive(file))

    def write_to(self, archive: _Members) -> None:
        archive.add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": self._index}
        archive.add("index.json", _json(index))
        if self._docker:
            archive.add("manifest.json", _json([*self._docker.values()]))
        for digest in sorted(self._blobs):
            with self._content.open(digest) as blob:
                archive.begin(_place(digest), blob.size)
                for piece in blob.pieces():
                    archive.put(piece)
        archive.end()


class _Directory:
    """A directory, which is empty."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._file: BinaryIO | None = None

    def add(self, name: str, data: bytes) -> None:
        self.begin(name, len(data))
        self.put(data)

    def begin(self, name: str, size: int) -> None:
        self.end()
        path = self._place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")

    def put(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)

    def end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Archive:
    """A tar whose members are files of nobody and no time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size, self._left = file, 0, 0

    def add(self, name: str, data: bytes) -> None:
        self.begin(name, len(data))
        self.put(data)

    def begin(self, name: str, size: int) -> None:
        self._pad(_BLOCK)
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o644
        self.put(member.tobuf(tarfile.GNU_FORMAT))

    def put(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)

    def end(self) -> None:
        self._pad(_BLOCK)
        self.put(bytes(2 * _BLOCK))
        self._pad(_RECORD)
        self._file.flush()

    def _pad(self, unit: int) -> None:
        self.put(bytes(-self._size % unit))


def _place(digest: Digest) -> str:
    return os.path.join("blobs", digest.algorithm, digest.hex)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
