"""Manifests and indexes at a registry: resolve a name, fetch, put, delete.

A name is resolved by what an endpoint says that may; the content is believed only when it has
the digest. Owns nothing that reads what is in a manifest beyond its type.
"""

from __future__ import annotations

from mobyshell.core.errors import InvalidImage, MobyshellError, RegistryFailed, Unsupported
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest, is_digest
from mobyshell.core.oci.image_spec import parse_document
from mobyshell.core.oci.safejson import LARGEST, show
from mobyshell.core.registry.progress import Resolved
from mobyshell.core.registry.session import Repository
from mobyshell.core.registry.transport import Response
from mobyshell.core.registry.values import PULL, PUSH, RESOLVE, Endpoint

_ACCEPT = ", ".join((*media_types.DOCUMENTS, "*/*"))
_VAGUE = frozenset({"", "application/octet-stream", "text/plain", "application/json"})
_HEAD = frozenset({200, 405})


def resolve(repository: Repository) -> Descriptor:
    """What the repository's reference names now.

    NotFound where there is no such manifest; RegistryFailed; InvalidImage for what cannot be one;
    Unsupported for Docker's schema 1.
    """
    reference = repository.reference
    needed = (PULL,) if reference.digest else (PULL, RESOLVE)

    def ask(endpoint: Endpoint, last: bool) -> Descriptor:
        with repository.request(
            endpoint, "HEAD", f"manifests/{reference.target}", headers={"Accept": _ACCEPT},
            scopes=repository.pulls, patient=last, expect=_HEAD,
        ) as response:  # fmt: skip
            found = _described(response, reference.digest) if response.status == 200 else None
        return found or _by_content(repository, endpoint, last)

    descriptor = repository.first(repository.capable(*needed), ask)
    repository.progress(Resolved(str(reference), descriptor))
    return descriptor


def _described(response: Response, wanted: Digest | None) -> Descriptor | None:
    """The descriptor in the headers; None where these do not say enough."""
    media_type, size = response.media_type, response.length
    _refuse_schema_1(media_type, response)
    word = response.header("Docker-Content-Digest")
    if word and not is_digest(word):
        raise _lie(response, f"{show(word)} is no digest")
    if not word or size is None or media_type in _VAGUE:
        return None
    if size > LARGEST:
        raise _lie(response, f"a manifest of {size} bytes; at most {LARGEST} are read")
    _refuse_other_types(media_type, response)
    digest = Digest(word)
    if wanted is not None and digest.algorithm == wanted.algorithm and digest != wanted:
        raise _lie(response, f"another manifest than {wanted}")
    return Descriptor(media_type=media_type, digest=wanted or digest, size=size)


def _by_content(repository: Repository, endpoint: Endpoint, last: bool) -> Descriptor:
    """The descriptor of what comes: for registries that cannot HEAD, or say too little."""
    reference = repository.reference
    with repository.request(
        endpoint, "GET", f"manifests/{reference.target}", headers={"Accept": _ACCEPT},
        scopes=repository.pulls, patient=last,
    ) as response:  # fmt: skip
        _refuse_schema_1(response.media_type, response)
        content = response.small(repository.limits.document)
        media_type = response.media_type
        if reference.digest and not reference.digest.verifies(content):
            raise _lie(response, f"another manifest than {reference.digest}")
        if media_type not in _VAGUE:
            _refuse_other_types(media_type, response)
    if media_type in _VAGUE:
        document = parse_document(content, what=str(reference))
        media_type = document.media_type or media_types.OCI_MANIFEST
        if document.media_type is None and hasattr(document, "manifests"):
            media_type = media_types.OCI_INDEX
    digest = reference.digest or Digest.of(content)
    return Descriptor(media_type=media_type, digest=digest, size=len(content))


def fetch(repository: Repository, descriptor: Descriptor) -> bytes:
    """The bytes of a manifest or index: exactly those, of the type that was promised.

    NotFound, RegistryFailed, InvalidImage.
    """
    if descriptor.size > repository.limits.document:
        raise InvalidImage(
            f"a manifest of {descriptor.size} bytes", hint=f"at most {LARGEST} are read"
        )
    embedded = descriptor.embedded()
    if embedded is not None and descriptor.digest.verifies(embedded):
        return embedded

    def ask(endpoint: Endpoint, last: bool) -> bytes:
        with repository.request(
            endpoint, "GET", f"manifests/{descriptor.digest}",
            headers={"Accept": f"{descriptor.media_type}, */*"},
            scopes=repository.pulls, patient=last,
        ) as response:  # fmt: skip
            return _verified(response, descriptor)

    return repository.first(repository.capable(PULL), ask)


def _verified(response: Response, descriptor: Descriptor) -> bytes:
    length, media_type = response.length, response.media_type
    if length is not None and length != descriptor.size:
        raise _lie(response, f"{length} bytes instead of {descriptor.size}")
    if media_type not in _VAGUE and media_type != descriptor.media_type:
        raise _lie(response, f"{show(media_type)} instead of {show(descriptor.media_type)}")
    content = response.small(descriptor.size)
    if len(content) != descriptor.size or not descriptor.digest.verifies(content):
        raise _lie(response, f"other bytes than {descriptor.digest}")
    return content


def exists(repository: Repository, endpoint: Endpoint, descriptor: Descriptor) -> bool:
    """Whether an endpoint has this manifest."""
    with repository.request(
        endpoint, "HEAD", f"manifests/{descriptor.digest}", headers={"Accept": _ACCEPT},
        scopes=repository.pushes, expect=frozenset({200, 404, 405}),
    ) as response:  # fmt: skip
        return response.status == 200


def put(
    repository: Repository, endpoint: Endpoint, content: bytes, media_type: str, name: str
) -> Response:
    """Store a manifest under a tag or its digest. The answer is closed, its headers can be read."""
    with repository.request(
        endpoint, "PUT", f"manifests/{name}", body=content, headers={"Content-Type": media_type},
        scopes=repository.pushes, expect=frozenset({200, 201, 202}),
    ) as response:  # fmt: skip
        word = response.header("Docker-Content-Digest")
        if word and (not is_digest(word) or not Digest(word).verifies(content)):
            raise _lie(response, "another digest for what was pushed")
        return response


def delete(repository: Repository) -> None:
    """Remove what the repository's reference names: a tag, or a manifest with all its tags.

    NotFound; Unsupported where the registry does not delete.
    """
    endpoint = repository.capable(PUSH)[0]
    with repository.request(
        endpoint, "DELETE", f"manifests/{repository.reference.target}", scopes=repository.deletes,
        expect=frozenset({200, 202, 204, 400, 405}),
    ) as response:  # fmt: skip
        if response.status in (400, 405):
            raise cannot_delete(response)


def cannot_delete(response: Response) -> MobyshellError:
    """The error of a registry that keeps everything, or everything of this kind."""
    return Unsupported(
        f"{response.location.host} does not delete this",
        hint="some registries delete manifests by digest only, some not at all",
    )


def _refuse_schema_1(media_type: str, response: Response) -> None:
    if media_type in media_types.SCHEMA_1:
        raise Unsupported(
            f"{response.location.host} has this image in Docker's schema 1 only, which is not read",
            hint="pull it with an old Docker, and push it again",
        )


def _refuse_other_types(media_type: str, response: Response) -> None:
    """Such as the page of a network that wants a login first, with status 200."""
    if media_type not in media_types.DOCUMENTS:
        raise _lie(response, f"{show(media_type)} instead of a manifest")


def _lie(response: Response, what: str) -> RegistryFailed:
    host = response.location.host
    return RegistryFailed(f"{host} answers {what}", host=host, status=response.status)
