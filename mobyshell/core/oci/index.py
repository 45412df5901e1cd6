"""The index of an image: its manifests by platform (image-spec image-index.md)."""

from __future__ import annotations

from typing import Any

from mobyshell.core.oci.descriptor import MEDIA_TYPE, Descriptor
from mobyshell.core.oci.kinds import array, extras, integer, mapping, member, record, text
from mobyshell.core.oci.platform import Matcher, Platform
from mobyshell.core.values import named_value

_SECTION = "image-index.md#image-index-property-descriptions"


@named_value
class Index:
    """Several manifests under one name. Docker's manifest lists read the same."""

    schema_version: int = member("schemaVersion", integer(2, 2), _SECTION, required=True)
    media_type: str | None = member("mediaType", MEDIA_TYPE, _SECTION)
    artifact_type: str | None = member("artifactType", MEDIA_TYPE, _SECTION)
    manifests: tuple[Descriptor, ...] = member(
        "manifests", array(record(Descriptor), null=True), _SECTION, required=True
    )
    subject: Descriptor | None = member("subject", record(Descriptor), _SECTION)
    annotations: dict[str, str] | None = member("annotations", mapping(text()), "annotations.md")
    extra: dict[str, Any] = extras()

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """The manifests, and indexes below this one."""
        return self.manifests

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """For which platforms there are images, in the index's order."""
        return tuple(
            one.platform for one in self.manifests if one.platform and not one.is_attestation
        )

    def candidates(self, matcher: Matcher) -> tuple[Descriptor, ...]:
        """What may be run on a machine, the best first; of equal ones the first that is listed.

        Those that do not say their platform come last: what they are for is in their
        configuration, or in the index that they are. Attestations are none.
        """
        ranked, open_ended = [], []
        for place, one in enumerate(self.manifests):
            if one.is_attestation:
                continue
            if one.platform is None:
                open_ended.append(one)
            elif (rank := matcher.rank(one.platform)) is not None:
                ranked.append((rank, place, one))
        ranked.sort(key=lambda entry: entry[:2])
        return (*(one for _, _, one in ranked), *open_ended)
