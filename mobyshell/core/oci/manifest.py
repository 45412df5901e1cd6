"""The manifest of an image: its configuration and its layers (image-spec manifest.md)."""

from __future__ import annotations

from typing import Any

from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import MEDIA_TYPE, Descriptor
from mobyshell.core.oci.kinds import array, extras, integer, mapping, member, record, text
from mobyshell.core.values import named_value

_SECTION = "manifest.md#image-manifest-property-descriptions"


@named_value
class Manifest:
    """One image, or another artifact, for one platform. Docker's schema 2 reads the same."""

    schema_version: int = member("schemaVersion", integer(2, 2), _SECTION, required=True)
    media_type: str | None = member("mediaType", MEDIA_TYPE, _SECTION)
    artifact_type: str | None = member("artifactType", MEDIA_TYPE, _SECTION)
    config: Descriptor = member("config", record(Descriptor), _SECTION, required=True)
    layers: tuple[Descriptor, ...] = member(
        "layers", array(record(Descriptor), null=True), _SECTION, required=True
    )
    subject: Descriptor | None = member("subject", record(Descriptor), _SECTION)
    annotations: dict[str, str] | None = member("annotations", mapping(text()), "annotations.md")
    extra: dict[str, Any] = extras()

    @property
    def is_image(self) -> bool:
        """Whether a container can be made of it: not so of charts, signatures and the like."""
        return media_types.is_config(self.config.media_type) and all(
            media_types.is_layer(one.media_type) for one in self.layers
        )

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What it consists of, the configuration first."""
        return (self.config, *self.layers)

    @property
    def size(self) -> int:
        """Bytes of configuration and layers as they are stored."""
        return sum(one.size for one in self.children)
