"""Push: content becomes a name at a registry, children before parents.

Owns the walk, and what is left out: layers that registries may not have. What the registry has
already is not sent.
"""

from __future__ import annotations

from mobyshell.core.errors import InvalidImage, NotFound
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import parse_document
from mobyshell.core.registry import manifests, uploads
from mobyshell.core.registry.progress import AlreadyThere, TransferDone, TransferPlanned
from mobyshell.core.registry.pull import DEEPEST, MOST_DOCUMENTS, Document
from mobyshell.core.registry.referrers import note_referrer
from mobyshell.core.registry.seam import ContentSource
from mobyshell.core.registry.session import Repository
from mobyshell.core.registry.values import PUSH
from mobyshell.core.registry.workers import in_parallel

UPLOADS = 4


def push(
    repository: Repository, source: ContentSource, descriptor: Descriptor, *,
    uploads_at_once: int = UPLOADS, chunk_size: int | None = None,
) -> Descriptor:  # fmt: skip
    """Store what `descriptor` names, all of it, under the repository's tag (else its digest).

    `chunk_size`: see `uploads.push`. NotFound where a part of it is not in the source: an index
    is pushed with all its platforms, or one of these by itself. RegistryFailed, InvalidImage.
    """
    repository = repository.anew()  # where one blob fails, the others are ended
    walk = _Walk(repository, source, chunk_size)
    walk.read(descriptor, 1)
    documents, needed = list(walk.documents.values()), list(walk.blobs.values())
    repository.progress(TransferPlanned((*(one.descriptor for one in documents), *needed)))
    in_parallel(walk.send, needed, uploads_at_once, repository.stop)
    for one in reversed(documents):
        walk.put(one, top=one.descriptor.digest == descriptor.digest)
    where = repository.reference
    source.sent(needed, where.domain, where.path)
    return descriptor


class _Walk:
    """One push."""

    def __init__(
        self, repository: Repository, source: ContentSource, chunk_size: int | None
    ) -> None:
        self.repository, self.source, self.chunk_size = repository, source, chunk_size
        self.endpoint = repository.capable(PUSH)[0]
        self.documents: dict[Digest, Document] = {}
        self.blobs: dict[Digest, Descriptor] = {}

    def read(self, one: Descriptor, depth: int) -> None:
        """Note it and what it consists of."""
        if depth > DEEPEST + 1 or len(self.documents) >= MOST_DOCUMENTS:
            raise InvalidImage(f"{one.digest}: indexes within indexes without end")
        if not self.source.has(one):
            of = f" of {one.platform}" if one.platform else ""
            raise NotFound(
                f"the manifest{of}, {one.digest}, is not here",
                hint="pull all platforms first, or push one platform's manifest",
            )
        content = self.source.read(one)
        document = parse_document(content, one.media_type, str(one.digest))
        self.documents.pop(one.digest, None)  # what comes twice has to be there for both parents
        self.documents[one.digest] = Document(one, content, document)
        for child in document.children:
            if media_types.is_manifest(child.media_type) or media_types.is_index(child.media_type):
                self.read(child, depth + 1)
            elif not media_types.is_foreign(child.media_type):
                self.blobs[child.digest] = child

    def send(self, one: Descriptor) -> None:
        """See to it that the registry has a blob."""
        if not self.source.has(one):
            raise NotFound(f"{one.digest} is not here", hint="pull the image again")
        known = self.source.repositories(one, self.repository.reference.domain)
        uploads.push(
            self.repository, self.endpoint, one, lambda: self.source.open(one),
            sources=known, chunk_size=self.chunk_size,
        )  # fmt: skip

    def put(self, document: Document, *, top: bool) -> None:
        """Store a document: the first under its name, the others under their digests."""
        reference, one = self.repository.reference, document.descriptor
        name = reference.tag if top and reference.tag and not reference.digest else one.digest
        if name == one.digest and manifests.exists(self.repository, self.endpoint, one):
            self.repository.progress(AlreadyThere(one))
            return
        response = manifests.put(
            self.repository, self.endpoint, document.content, one.media_type, name
        )
        note_referrer(self.repository, self.endpoint, response, one, document.value)
        self.repository.progress(TransferDone(one))
