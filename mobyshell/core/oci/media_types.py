"""Media types: what the bytes that a descriptor names are (image-spec media-types.md; Docker's
image manifest version 2, schema 2).

Owns the names and what follows from them. Both families mean the same kinds of things; nothing
but this module knows that there are two.
"""

from __future__ import annotations

import re
from enum import StrEnum

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = f"{OCI_LAYER}+gzip"
OCI_LAYER_ZSTD = f"{OCI_LAYER}+zstd"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = f"{DOCKER_LAYER}.gzip"
DOCKER_LAYER_ZSTD = f"{DOCKER_LAYER}.zstd"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_FOREIGN_LAYER_GZIP = f"{DOCKER_FOREIGN_LAYER}.gzip"

SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
"""Docker's manifests of before 2016: their layers are named by no digest of what is in them."""

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
DOCUMENTS = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
"""What a registry is asked for when a name is resolved, best first."""

_LONGEST = 255
_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


class Compression(StrEnum):
    """How a layer's tar is packed. UNKNOWN: the type does not say, the first bytes do."""

    NONE = ""
    GZIP = "gzip"
    ZSTD = "zstd"
    UNKNOWN = "unknown"


_LAYERS = {
    OCI_LAYER: Compression.NONE,
    OCI_LAYER_GZIP: Compression.GZIP,
    OCI_LAYER_ZSTD: Compression.ZSTD,
    OCI_FOREIGN_LAYER: Compression.NONE,
    f"{OCI_FOREIGN_LAYER}+gzip": Compression.GZIP,
    f"{OCI_FOREIGN_LAYER}+zstd": Compression.ZSTD,
    # old programs of Docker's wrote this type and compressed all the same
    DOCKER_LAYER: Compression.UNKNOWN,
    DOCKER_LAYER_GZIP: Compression.GZIP,
    DOCKER_LAYER_ZSTD: Compression.ZSTD,
    DOCKER_FOREIGN_LAYER: Compression.UNKNOWN,
    DOCKER_FOREIGN_LAYER_GZIP: Compression.GZIP,
}


def is_media_type(value: str) -> bool:
    """Whether `value` is a type and a subtype as RFC 6838 4.2 wants them, without parameters."""
    return len(value) <= _LONGEST and _FORM.fullmatch(value) is not None


def is_index(media_type: str) -> bool:
    """An index (Docker: a manifest list): manifests by platform."""
    return media_type in INDEXES


def is_manifest(media_type: str) -> bool:
    """A manifest: a config and layers."""
    return media_type in MANIFESTS


def is_config(media_type: str) -> bool:
    """The configuration of an image."""
    return media_type in CONFIGS


def is_layer(media_type: str) -> bool:
    """A layer of a file system, of whatever compression."""
    return media_type in _LAYERS


def is_foreign(media_type: str) -> bool:
    """A layer that registries may not hand on: it is fetched from the URLs of its descriptor."""
    return media_type.startswith((OCI_FOREIGN_LAYER, DOCKER_FOREIGN_LAYER))


def compression(media_type: str) -> Compression | None:
    """How a layer of this type is packed; None for what is no layer."""
    return _LAYERS.get(media_type)
