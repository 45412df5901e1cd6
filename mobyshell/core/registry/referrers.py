"""What refers to an image: signatures, provenance, bills of materials (distribution-spec 1.1).

Owns the API, and the tag that stands in for it where a registry has none (`sha256-…`).
"""

from __future__ import annotations

from dataclasses import replace

from mobyshell.core.errors import InvalidImage, NotFound, RegistryFailed
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import dump_image, parse_document, parse_index
from mobyshell.core.oci.index import Index
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.registry import manifests
from mobyshell.core.registry.session import Repository
from mobyshell.core.registry.transport import Response
from mobyshell.core.registry.values import PULL, PUSH, REFERRERS, Endpoint


def referrers(
    repository: Repository, digest: Digest, artifact_type: str = ""
) -> tuple[Descriptor, ...]:
    """What refers to a manifest, all of it or of one type. RegistryFailed, InvalidImage."""

    def ask(endpoint: Endpoint, last: bool) -> tuple[Descriptor, ...]:
        try:
            return _by_api(repository, endpoint, digest)
        except NotFound:
            pass
        try:
            return _by_tag(repository, endpoint, digest).manifests
        except InvalidImage:
            return ()  # a tag that happens to be called so

    found = repository.first(repository.capable(PULL, REFERRERS), ask)
    unique = {one.digest: one for one in found}
    wanted = (one for one in unique.values() if artifact_type in ("", one.artifact_type))
    return tuple(wanted)  # filtered here: registries need not


def _by_api(repository: Repository, endpoint: Endpoint, digest: Digest) -> tuple[Descriptor, ...]:
    found: list[Descriptor] = []
    for response in repository.pages(endpoint, f"referrers/{digest}", repository.pulls):
        content = response.small(repository.limits.document)
        found += parse_index(content, what=f"{endpoint.host}'s list of referrers").manifests
        if len(found) > repository.limits.names:
            raise RegistryFailed(f"{endpoint.host} lists too many referrers", host=endpoint.host)
    return tuple(found)


def tag_of(digest: Digest) -> str:
    """The tag that lists what refers to a manifest, at registries without the API."""
    return f"{digest.algorithm}-{digest.hex[:64]}"


def _by_tag(repository: Repository, endpoint: Endpoint, digest: Digest) -> Index:
    """The tag's list; an empty one if there is none. InvalidImage where it is something else."""
    try:
        with repository.request(
            endpoint, "GET", f"manifests/{tag_of(digest)}", scopes=repository.pulls,
            headers={"Accept": media_types.OCI_INDEX},
        ) as response:  # fmt: skip
            content = response.small(repository.limits.document)
        return parse_index(content)
    except NotFound:
        return Index(schema_version=2, media_type=media_types.OCI_INDEX, manifests=())


def note_referrer(
    repository: Repository, endpoint: Endpoint, response: Response, descriptor: Descriptor,
    manifest: Manifest | Index,
) -> None:  # fmt: skip
    """After a push of something with a subject: enter it in the tag's list, unless the registry
    said (OCI-Subject) that it did so itself. InvalidImage where the tag is something else, which
    stays as it is."""
    subject = manifest.subject
    if subject is None or response.header("OCI-Subject"):
        return
    listed = _by_tag(repository, endpoint, subject.digest)
    if any(one.digest == descriptor.digest for one in listed.manifests):
        return
    kind = manifest.artifact_type
    if not kind and isinstance(manifest, Manifest):
        kind = manifest.config.media_type
    entry = Descriptor(
        media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size,
        artifact_type=kind, annotations=manifest.annotations,
    )  # fmt: skip
    _put(
        repository, endpoint, subject.digest, replace(listed, manifests=(*listed.manifests, entry))
    )


def delete(repository: Repository, descriptor: Descriptor) -> None:
    """Remove a manifest that refers to another, also from the list of these.

    NotFound; Unsupported where the registry does not delete.
    """
    endpoint = repository.capable(PUSH)[0]
    content = manifests.fetch(repository, descriptor)
    subject = parse_document(content, descriptor.media_type, str(descriptor.digest)).subject
    reference = replace(repository.reference, tag=None, digest=descriptor.digest)
    manifests.delete(repository.client.repository(reference, stop=repository.stop))
    if subject is None:
        return
    try:
        _by_api(repository, endpoint, subject.digest)
    except NotFound:
        listed = _by_tag(repository, endpoint, subject.digest)
        left = tuple(one for one in listed.manifests if one.digest != descriptor.digest)
        if left != listed.manifests:
            _put(repository, endpoint, subject.digest, replace(listed, manifests=left))


def _put(repository: Repository, endpoint: Endpoint, subject: Digest, index: Index) -> None:
    content = dump_image(index)
    manifests.put(repository, endpoint, content, media_types.OCI_INDEX, tag_of(subject))
