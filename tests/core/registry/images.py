"""Images to move about: real ones in shape, random in content."""

from __future__ import annotations

import io
import json
import random
import tarfile
from typing import Any

from mobyshell.core.oci import media_types as m
from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import image_to_json
from mobyshell.core.oci.platform import parse_platform
from tests.core.registry.shelf import Shelf


def layer(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def tar_layer(seed: int) -> bytes:
    """A real layer: skopeo looks into it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(f"file{seed}")
        content = str(seed).encode() * 50_000
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def document(shelf: Shelf, media_type: str, members: dict[str, Any], **more: Any) -> Descriptor:
    """Put a document on the shelf."""
    content = json.dumps({"schemaVersion": 2, "mediaType": media_type, **members}).encode()
    shelf.add(content)
    return describe(content, media_type, **more)


def config(
    shelf: Shelf, platform: str, diff_ids: list[Digest], kind: str = m.OCI_CONFIG
) -> Descriptor:
    where = parse_platform(platform)
    content = json.dumps({
        "architecture": where.architecture, "os": where.os, "variant": where.variant or "",
        "config": {"Cmd": ["true"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }).encode()  # fmt: skip
    shelf.add(content)
    return describe(content, kind)


def image(
    shelf: Shelf, platform: str = "linux/amd64", sizes: tuple[int, ...] = (3000, 70_000),
    seed: int = 1, *, docker: bool = False, labelled: bool = True, **members: Any,
) -> Descriptor:  # fmt: skip
    """An image of one platform. `labelled`: its descriptor says which."""
    layers = []
    for number, size in enumerate(sizes):
        content = layer(size, seed * 1000 + number)
        shelf.add(content)
        layers.append(describe(content, m.DOCKER_LAYER_GZIP if docker else m.OCI_LAYER_GZIP))
    made = config(
        shelf, platform, [one.digest for one in layers], m.DOCKER_CONFIG if docker else m.OCI_CONFIG
    )
    members = {
        "config": image_to_json(made), "layers": [image_to_json(one) for one in layers], **members
    }  # fmt: skip
    kind = m.DOCKER_MANIFEST if docker else m.OCI_MANIFEST
    where = {"platform": parse_platform(platform)} if labelled else {}
    return document(shelf, kind, members, **where)


def index(shelf: Shelf, *manifests: Descriptor, docker: bool = False) -> Descriptor:
    """An index of these."""
    listed = [image_to_json(one) for one in manifests]
    return document(shelf, m.DOCKER_INDEX if docker else m.OCI_INDEX, {"manifests": listed})


def everything(shelf: Shelf, top: Descriptor) -> set[Digest]:
    """The digests of all that is below a document, itself included."""
    found = {top.digest}
    if top.media_type in m.DOCUMENTS:
        members = json.loads(shelf.blobs[top.digest])
        for one in [
            members.get("config"),
            *members.get("layers", []),
            *members.get("manifests", []),
        ]:
            if one:
                child = Descriptor(
                    media_type=one["mediaType"], digest=Digest(one["digest"]), size=one["size"]
                )
                found |= everything(shelf, child)
    return found
