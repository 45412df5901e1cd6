"""Small images for tests: documents with the blobs they name, put into a namespace."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.content.content import Content

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def put(content: Content, data: bytes, media_type: str, **more: Any) -> Descriptor:
    """Have `data` as a blob."""
    digest = Digest.of(data)
    if not content.has(digest):
        with content.writer(f"test-{digest}", expected=digest) as ingest:
            ingest.write(data)
            ingest.commit(expected=digest)
    return Descriptor(media_type=media_type, digest=digest, size=len(data), **more)


def put_json(content: Content, document: Any, media_type: str, **more: Any) -> Descriptor:
    """Have a JSON document as a blob."""
    return put(content, json.dumps(document).encode(), media_type, **more)


def layer(files: Mapping[str, bytes]) -> bytes:
    """A tar of regular files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return data.getvalue()


def plain(one: Descriptor) -> dict[str, Any]:
    """A descriptor as JSON."""
    found: dict[str, Any] = {"mediaType": one.media_type, "digest": one.digest, "size": one.size}
    if one.platform is not None:
        found["platform"] = {"os": one.platform.os, "architecture": one.platform.architecture}
    return found


def image(
    content: Content, layers: Sequence[Mapping[str, bytes]] = ({"hello": b"hi\n"},), *,
    architecture: str = "amd64", config: Mapping[str, Any] | None = None, **more: Any,
) -> Descriptor:  # fmt: skip
    """A whole image; its manifest's descriptor."""
    tars = [layer(files) for files in layers]
    blobs = [put(content, gzip.compress(one, mtime=0), LAYER) for one in tars]
    document = {
        "architecture": architecture, "os": "linux", "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(one) for one in tars]},
    }  # fmt: skip
    described = put_json(content, document, CONFIG)
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": plain(described),
        "layers": [plain(one) for one in blobs],
    }  # fmt: skip
    return put_json(content, manifest, MANIFEST, **more)


def index(content: Content, *manifests: Descriptor) -> Descriptor:
    """An index of these."""
    assert media_types.is_index(INDEX)
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [plain(one) for one in manifests],
    }
    return put_json(content, document, INDEX)
