"""Descriptors: what is meant, by its digest, size and type (image-spec descriptor.md)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from mobyshell.core.oci import media_types
from mobyshell.core.oci.digest import Digest, digest_kind
from mobyshell.core.oci.kinds import (
    Problem,
    array,
    extras,
    formatted,
    integer,
    mapping,
    member,
    record,
    text,
)
from mobyshell.core.oci.platform import Platform
from mobyshell.core.values import named_value

_SECTION = "descriptor.md#properties"
MEDIA_TYPE = formatted(media_types.is_media_type, "a media type such as application/json")
SIZE = integer(0, 2**63 - 1)
REFERENCE_TYPE = "vnd.docker.reference.type"
"""BuildKit's annotation of what it puts into an index beside images."""


@named_value
class Descriptor:
    """Bytes that lie elsewhere. `size` in bytes; `data` the bytes themselves in base64, if few."""

    media_type: str = member("mediaType", MEDIA_TYPE, _SECTION, required=True)
    digest: Digest = member("digest", digest_kind, "descriptor.md#digests", required=True)
    size: int = member("size", SIZE, _SECTION, required=True)
    urls: tuple[str, ...] | None = member("urls", array(text()), _SECTION)
    annotations: dict[str, str] | None = member("annotations", mapping(text()), "annotations.md")
    data: str | None = member("data", text(), "descriptor.md#embedded-content")
    platform: Platform | None = member("platform", record(Platform), "image-index.md")
    artifact_type: str | None = member("artifactType", MEDIA_TYPE, _SECTION)
    extra: dict[str, Any] = extras()

    @property
    def is_attestation(self) -> bool:
        """Whether it tells about an image instead of being one: nothing that could be run."""
        if REFERENCE_TYPE in (self.annotations or {}):
            return True
        where = self.platform
        return where is not None and where.os == "unknown" and where.architecture == "unknown"

    def embedded(self) -> bytes | None:
        """The bytes, where they are embedded; they are those of digest and size (`problems_of`)."""
        return None if self.data is None else base64.b64decode(self.data)


def describe(content: bytes, media_type: str, **more: Any) -> Descriptor:
    """The descriptor of these bytes."""
    return Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content), **more)


def problems_of(one: Descriptor, path: str) -> Iterator[Problem]:
    """What a descriptor may not be beyond types: embedded bytes are the ones that it names."""
    if one.data is None:
        return
    section = "descriptor.md#embedded-content"
    try:
        content = base64.b64decode(one.data, validate=True)
    except (binascii.Error, ValueError):
        yield Problem(f"{path}.data", "something else", "base64", section)
        return
    if len(content) != one.size or not one.digest.verifies(content):
        yield Problem(
            f"{path}.data", f"{len(content)} other bytes", "those of digest and size", section
        )
