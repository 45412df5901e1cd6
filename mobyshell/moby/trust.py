"""Signatures of images in the store and in registries, and the policy on what may come in.

Owns where they are: beside the image, under a tag made of its digest, as cosign has them; and where
the policy is (`transfer.policy_file`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from mobyshell.core.errors import AlreadyExists, InvalidImage, MobyshellError, NotFound
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import parse_document, parse_manifest
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.reference import Reference, parse_reference
from mobyshell.core.store.references import child_labels
from mobyshell.core.store.transfer import StoreSink
from mobyshell.core.store.walk import document
from mobyshell.core.trust import signatures as sig
from mobyshell.core.trust.policy import Policy, read_policy
from mobyshell.moby.transfer import policy_file

if TYPE_CHECKING:
    from mobyshell.core.registry.session import Repository
    from mobyshell.core.trust.keys import PrivateKey, PublicKey
    from mobyshell.moby.image import Image
    from mobyshell.moby.tenant import Tenant


def policy_of(tenant: Tenant) -> Policy:
    """The policy that is in force; without a file everything is accepted."""
    path = policy_file(tenant)
    return Policy() if path is None else read_policy(path)


def signature_reference(reference: Reference, digest: Digest) -> Reference:
    """Where the signatures of a manifest are."""
    return reference.with_tag(sig.tag_of(digest))


def sign(tenant: Tenant, image: Image, key: PrivateKey, annotations: dict[str, str]) -> sig.Signed:
    """Sign an image, beside the signatures that it has here; `push` takes them along."""
    reference = parse_reference(image.name)
    digest = image.target.digest
    made = sig.sign(key, reference, digest, annotations)
    where = signature_reference(reference, digest)
    with tenant.leased() as held:
        content = held.store.content
        others = []
        for layer in _layers(held, where):
            one = sig.from_layer(layer, lambda known: content.read(known.digest))
            if one is None or not key.public.verifies(one.signature, one.payload):
                others.append(layer)
        held.store.images.put(str(where), _keep(held, *sig.to_image([made], others)))
    return made


def _keep(held: Tenant, manifest: sig.Document, parts: list[sig.Document]) -> Descriptor:
    """Have an image of signatures in the content."""
    content = held.store.content
    children = parse_manifest(manifest.content, manifest.descriptor.media_type).children
    for one in (*parts, manifest):
        labels = child_labels(children if one is manifest else ())
        with suppress(AlreadyExists):
            with content.writer(f"signature-{one.descriptor.digest}",
                                expected=one.descriptor.digest, patience=60) as ingest:  # fmt: skip
                ingest.write(one.content, 0)
                ingest.commit(one.descriptor.size, one.descriptor.digest, labels)
            continue
        if labels:
            content.update(one.descriptor.digest, dict(labels))
    return manifest.descriptor


def _layers(tenant: Tenant, where: Reference) -> tuple[Descriptor, ...]:
    """The layers of the signatures that are here; none where there is nothing that reads as some."""
    try:
        manifest = document(tenant.store.content, tenant.store.images.get(str(where)).target)
    except MobyshellError:
        return ()
    return manifest.layers if isinstance(manifest, Manifest) else ()


def local_signatures(tenant: Tenant, reference: Reference, digest: Digest) -> list[sig.Signed]:
    """The signatures that are here; none where there is nothing that reads as some."""
    try:
        found = tenant.store.images.get(str(signature_reference(reference, digest)))
        return _read(tenant, found.target)
    except MobyshellError:
        return []


def _read(tenant: Tenant, target: Descriptor) -> list[sig.Signed]:
    content = tenant.store.content
    manifest = document(content, target)
    if not isinstance(manifest, Manifest):
        return []
    return list(sig.from_image(manifest, lambda one: content.read(one.digest)))


def verify(tenant: Tenant, image: Image, keys: Iterable[PublicKey]) -> dict[str, sig.Claim]:
    """By whom of `keys` an image is signed, by the signatures that are here."""
    reference = parse_reference(image.name)
    found = local_signatures(tenant, reference, image.target.digest)
    return sig.verified(found, keys, image.target.digest)


def admit(
    tenant: Tenant,
    reference: Reference,
    digest: Digest,
    fetch: Callable[[], object] = lambda: None,
) -> None:
    """Refused, unless the policy lets this image in. `fetch` brings signatures from where the image
    comes from; it is called only where they count."""

    def signatures() -> list[sig.Signed]:
        fetch()
        return local_signatures(tenant, reference, digest)

    policy_of(tenant).check(reference, digest, signatures)


def fetch_signatures(tenant: Tenant, repository: Repository, digest: Digest) -> None:
    """Have the signatures of a manifest from its registry, if there are any, beside those that are
    here. InvalidImage for what cannot be signatures."""
    where = signature_reference(repository.reference, digest)
    with tenant.leased() as held:
        target, theirs = _fetched(held, repository, where)
        ours = _layers(held, where)
        if target is None or (ours and not sig.missing(theirs, ours)):
            return
        if sig.missing(ours, theirs):
            both = (*ours, *sig.missing(theirs, ours))
            target = _keep(held, *sig.to_image((), both))
        held.store.images.put(str(where), target)


def push_signatures(held: Tenant, name: Reference, repository: Repository, digest: Digest) -> None:
    """Bring the signatures that a manifest has here, under `name`, to where it was pushed, beside those
    that others have left there."""
    from mobyshell.core.registry.push import push
    from mobyshell.core.store.transfer import StoreSource

    ours = _layers(held, signature_reference(name, digest))
    if not ours:
        return
    where = signature_reference(repository.reference, digest)
    _, theirs = _fetched(held, repository, where)
    if sig.missing(ours, theirs):
        both = (*ours, *sig.missing(theirs, ours))
        beside = repository.client.repository(where, stop=repository.stop)
        push(beside, StoreSource(held.store), _keep(held, *sig.to_image((), both)))


def _fetched(
    held: Tenant, repository: Repository, where: Reference
) -> tuple[Descriptor | None, tuple[Descriptor, ...]]:
    """The image of signatures that a registry has, held here: what it is, its layers. Nothing is
    fetched that is too large to be one."""
    from mobyshell.core.registry.manifests import fetch, resolve
    from mobyshell.core.registry.pull import pull

    beside = repository.client.repository(where, stop=repository.stop)
    try:
        target = resolve(beside)
    except NotFound:
        return None, ()
    manifest = parse_document(fetch(beside, target), target.media_type, str(where))
    if not isinstance(manifest, Manifest):
        raise InvalidImage(f"{where} is an index, and no signatures")
    sig.check_size(manifest, str(where))
    pull(beside, StoreSink(held.store), None, descriptor=target)
    return target, manifest.layers
