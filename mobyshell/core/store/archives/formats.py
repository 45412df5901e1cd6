"""What images an archive or directory says it holds: OCI's layout, Docker's `manifest.json`, and the
plain directories of skopeo.

Docker's older archives name their layers only by a path; their documents are made here, so that
afterwards there is one kind of image.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from mobyshell.core.errors import InvalidImage, InvalidSpec, NotFound, UsageError
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import (
    dump_image,
    parse_document,
    parse_image_config,
    parse_index,
)
from mobyshell.core.oci.index import Index
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.reference import is_tag, parse_reference
from mobyshell.core.oci.safejson import LARGEST, read_json
from mobyshell.core.store.archives.source import ImageSource
from mobyshell.core.store.content.blobs import hash_region
from mobyshell.core.store.layers import Compression, Region
from mobyshell.core.store.layers.compression import detect
from mobyshell.core.values import field, value

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
MOST_IMAGES = 5_000

_LAYERS = {
    Compression.NONE: media_types.OCI_LAYER,
    Compression.GZIP: media_types.OCI_LAYER_GZIP,
    Compression.ZSTD: media_types.OCI_LAYER_ZSTD,
}


@value
class Found:
    """The images of a source. `named`: by full name; `unnamed`: those that have none. `places`: where
    blobs lie; `made`: bytes of documents that are in no file."""

    named: dict[str, Descriptor] = field(default_factory=dict)
    unnamed: list[Descriptor] = field(default_factory=list)
    places: dict[Digest, str] = field(default_factory=dict)
    made: dict[Digest, bytes] = field(default_factory=dict)

    def place(self, digest: Digest) -> str:
        """The name under which a source has a blob."""
        return self.places.get(digest) or f"blobs/{digest.algorithm}/{digest.hex}"

    def add(self, name: str, target: Descriptor) -> None:
        """One more image."""
        if name:
            self.named[name] = target
        elif target not in self.unnamed:
            self.unnamed.append(target)


def find_images(source: ImageSource, *, base: str = "") -> Found:
    """The images of `source`. `base`: the repository of those that are named by a tag only.

    InvalidImage if it is none of the formats, or breaks the one it is.
    """
    try:
        index = source.read("index.json", LARGEST)
    except NotFound:
        pass
    else:
        return _layout(source, index, base)
    try:
        manifest = source.read("manifest.json", LARGEST)
    except NotFound:
        raise InvalidImage(
            "neither index.json (OCI) nor manifest.json (Docker) is in it: these are no images"
        ) from None
    if isinstance(_json(manifest, "manifest.json"), dict):
        return _plain(source, manifest)
    return _docker(source, manifest, base)


def _plain(source: ImageSource, content: bytes) -> Found:
    """skopeo's `dir:`: manifest.json is the image's own, blobs have their digits for names, and the
    manifests of an index end in .manifest.json."""
    found = Found()
    pending = [("manifest.json", content)]
    while pending:
        place, data = pending.pop()
        document = parse_document(data, None, place)
        kind = media_types.OCI_INDEX if isinstance(document, Index) else media_types.OCI_MANIFEST
        one = describe(data, document.media_type or kind)
        found.places[one.digest] = place
        if place == "manifest.json":
            found.add("", one)
        for child in document.children:
            if media_types.is_manifest(child.media_type) or media_types.is_index(child.media_type):
                name = f"{child.digest.hex}.manifest.json"
                with suppress(NotFound):  # of a platform that was not copied
                    if child.digest not in found.places:
                        pending.append((name, source.read(name, LARGEST)))
            else:
                found.places[child.digest] = child.digest.hex
        if len(found.places) > MOST_IMAGES:
            raise InvalidImage("manifest.json leads to more documents than any image has")
    return found


def _layout(source: ImageSource, content: bytes, base: str) -> Found:
    """image-spec image-layout.md."""
    try:
        version = _json(source.read("oci-layout", LARGEST), "oci-layout")
    except NotFound:
        raise InvalidImage("index.json without oci-layout: this is no OCI layout") from None
    told = version.get("imageLayoutVersion") if isinstance(version, dict) else None
    if not isinstance(told, str) or not told.startswith("1."):
        raise InvalidImage(f"an OCI layout of version {told!r:.40}; 1.0.0 is known")
    found = Found()
    for one in parse_index(content, None, "index.json").manifests:
        annotations = one.annotations or {}
        word = annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME) or ""
        found.add(_name(word, base), one)
    _docker_names(source, found, base)
    return found


def _docker_names(source: ImageSource, found: Found, base: str) -> None:
    """Docker's newer archives are layouts too, whose full names stand in manifest.json only."""
    if found.named or not found.unnamed:
        return
    try:
        entries = _entries(source.read("manifest.json", LARGEST))
    except (NotFound, InvalidImage):
        return
    tags = [tag for entry in entries for tag in _texts(entry.get("RepoTags"), "RepoTags")]
    if len(found.unnamed) == 1:
        for tag in tags:
            found.add(_name(tag, base), found.unnamed[0])
    if found.named:
        found.unnamed.clear()


def _docker(source: ImageSource, content: bytes, base: str) -> Found:
    """`docker save` (github.com/moby/docker-image-spec)."""
    found = Found()
    for entry in _entries(content):
        place = entry.get("Config")
        if not isinstance(place, str):
            raise InvalidImage("manifest.json: an image without a Config")
        data = source.read(place, LARGEST)
        config = describe(data, media_types.OCI_CONFIG)
        found.places[config.digest] = place
        diff_ids = parse_image_config(data, place).diff_ids
        layers = _texts(entry.get("Layers"), "Layers")
        if len(layers) != len(diff_ids):
            raise InvalidImage(
                f"{place}: {len(layers)} layers in manifest.json, {len(diff_ids)} in the image"
            )
        described = tuple(
            _layer(source, name, diff_id, found)
            for name, diff_id in zip(layers, diff_ids, strict=True)
        )
        manifest = Manifest(
            schema_version=2, media_type=media_types.OCI_MANIFEST, config=config, layers=described
        )
        target = describe(dump_image(manifest), media_types.OCI_MANIFEST)
        found.made[target.digest] = dump_image(manifest)
        tags = _texts(entry.get("RepoTags"), "RepoTags")
        for tag in tags or ("",):
            found.add(_name(tag, base), target)
    return found


def _layer(source: ImageSource, name: str, diff_id: Digest, found: Found) -> Descriptor:
    region = source.find(name)
    assert region.length is not None
    kind = detect(_start(region))
    # of a plain tar the image has said the digest, and is held to it when it is read
    digest = (
        diff_id
        if kind is Compression.NONE
        else hash_region(region.fd, region.offset, region.length)
    )
    found.places[digest] = name
    return Descriptor(media_type=_LAYERS[kind], digest=digest, size=region.length)


def _start(region: Region) -> bytes:
    return os.pread(region.fd, min(8, region.length or 0), region.offset)


def _name(word: str, base: str) -> str:
    """The full name of an image; "" where the word is not even part of one."""
    if not word:
        return ""
    try:
        if is_tag(word) and ":" not in word and base:
            return str(parse_reference(base).with_tag(word))
        if is_tag(word) and ":" not in word and "/" not in word:
            return ""  # a tag of a repository that nobody names
        return str(parse_reference(word))
    except UsageError:
        return ""


def _entries(content: bytes) -> list[dict[str, Any]]:
    entries = _json(content, "manifest.json")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise InvalidImage("manifest.json is no list of images")
    if len(entries) > MOST_IMAGES:
        raise InvalidImage(f"manifest.json lists {len(entries)} images")
    return entries


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidImage(f"manifest.json: {what} is no list of texts")
    return tuple(value)


def _json(content: bytes, what: str) -> Any:
    try:
        return read_json(content, what)
    except InvalidSpec as error:
        raise InvalidImage(error.message, hint=error.hint) from None
