"""Pull: a name becomes content, whole and verified, children before parents.

Owns the walk from index to manifest to blobs, and which of them are needed on a platform. What is
there already is asked of the sink, and not fetched again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mobyshell.core.errors import InvalidImage, Locked, NotFound, StoreDamaged
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_config import ImageConfig
from mobyshell.core.oci.image_spec import check_layers, parse_document, parse_image_config
from mobyshell.core.oci.index import Index
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.platform import Matcher
from mobyshell.core.registry import blobs, manifests
from mobyshell.core.registry.progress import AlreadyThere, TransferPlanned, WaitingForOther
from mobyshell.core.registry.seam import BlobWriter, ContentSink
from mobyshell.core.registry.session import Repository
from mobyshell.core.registry.workers import in_parallel

DOWNLOADS = 4
"""Blobs at once; Docker and containerd do three."""

DEEPEST = 4
"""Indexes within indexes. One is common, two are rare."""

MOST_DOCUMENTS = 2_000


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index with the bytes that it was read from."""

    descriptor: Descriptor
    content: bytes
    value: Manifest | Index


@dataclass(slots=True)
class _Found:
    """What of an image is needed: documents with their content, parents first; blobs."""

    documents: dict[Digest, Document] = field(default_factory=dict)
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)

    def add(self, other: _Found) -> None:
        """What `other` needs too. A document that is met again has to be there for both parents."""
        for digest, one in other.documents.items():
            self.documents.pop(digest, None)
            self.documents[digest] = one
        self.blobs.update(other.blobs)


class Onward(Protocol):
    """Goes on with an image while it comes. Is called by several threads; must not block."""

    def planned(self, descriptor: Descriptor, manifest: Manifest, config: ImageConfig) -> None:
        """This image is coming. Its configuration is in the sink, its manifest comes last."""
        ...

    def arrived(self, descriptor: Descriptor) -> None:
        """This blob is in the sink."""
        ...


def pull(
    repository: Repository, sink: ContentSink, matcher: Matcher | None = None, *,
    descriptor: Descriptor | None = None, downloads: int = DOWNLOADS, onward: Onward | None = None,
) -> Descriptor:  # fmt: skip
    """Bring what the repository's reference names into the sink; what it names is returned.

    `matcher` says for which machine: the best of an index is taken; None takes all there is.
    `descriptor`: what it was resolved to before. `onward` is told of the one image that was
    chosen, if it is one, and of what has come of it. NotFound (no such image, or none for this
    platform), RegistryFailed, InvalidImage, Unsupported, Interrupted.
    """
    repository = repository.anew()  # where one blob fails, the others are ended
    top = descriptor or manifests.resolve(repository)
    walk = _Walk(repository, sink, matcher)
    found = walk.found(top)
    needed = sorted(found.blobs.values(), key=lambda one: one.size, reverse=True)
    documents = list(found.documents.values())
    repository.progress(TransferPlanned((*(one.descriptor for one in documents), *needed)))
    if onward is not None and walk.announce(documents, onward):
        walk.onward = onward
    in_parallel(walk.bring, needed, downloads, repository.stop)
    for one in reversed(documents):
        walk.keep(one.descriptor, one.content, one.value.children)
    return top


class _Walk:
    """One pull."""

    def __init__(self, repository: Repository, sink: ContentSink, matcher: Matcher | None) -> None:
        self.repository, self.sink, self.matcher = repository, sink, matcher
        self.source = f"{repository.reference.domain}/{repository.path}"
        self.onward: Onward | None = None
        self._documents = 0
        self._kept: set[Digest] = set()

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is in the sink."""
        return descriptor.digest in self._kept or self.sink.has(descriptor)

    def found(self, top: Descriptor) -> _Found:
        """What is needed of `top`, all documents read."""
        found = _Found()
        document = self._document(top, found)
        if isinstance(document, Manifest):
            if self.matcher is not None and document.is_image:
                self._require(document)
            self._add(document, found)
        elif not self._index(document, found, 1):
            names = ", ".join(dict.fromkeys(map(str, document.platforms))) or "none that says so"
            raise NotFound(
                f"{self.repository.reference} is not for {self.matcher}", hint=f"there are: {names}"
            )
        return found

    def _index(self, index: Index, found: _Found, depth: int) -> bool:
        """Whether there was something in it: the best, or all of it."""
        if depth > DEEPEST:
            raise InvalidImage(f"{self.repository.reference}: an index within {DEEPEST} others")
        if self.matcher is None:
            for one in index.manifests:
                self._child(one, found, depth)
            return True
        return any(self._child(one, found, depth) for one in index.candidates(self.matcher))

    def _child(self, one: Descriptor, found: _Found, depth: int) -> bool:
        """Add what is needed of one entry. Whether it is for this machine."""
        inner = _Found()
        if not (media_types.is_manifest(one.media_type) or media_types.is_index(one.media_type)):
            if self.matcher is None:
                found.blobs[one.digest] = one
            return self.matcher is None
        document = self._document(one, inner)
        if isinstance(document, Index):
            fits = self._index(document, inner, depth + 1)
        else:
            fits = self.matcher is None or one.platform is not None or self._fits(document)
            if fits:
                self._add(document, inner)
        if fits:
            found.add(inner)
        return fits

    def _document(self, one: Descriptor, found: _Found) -> Manifest | Index:
        self._documents += 1
        if self._documents > MOST_DOCUMENTS:
            raise InvalidImage(
                f"{self.repository.reference} has more than {MOST_DOCUMENTS} manifests"
            )
        if self.sink.has(one):
            content = self._read(one)
            self.repository.progress(AlreadyThere(one))
        else:
            content = manifests.fetch(self.repository, one)
        what = f"{self.repository.reference.name}@{one.digest}"
        document = parse_document(content, one.media_type, what)
        found.documents[one.digest] = Document(one, content, document)
        return document

    def _add(self, manifest: Manifest, found: _Found) -> None:
        for one in manifest.children:
            found.blobs[one.digest] = one

    def _config(self, manifest: Manifest) -> ImageConfig:
        config = manifest.config
        if config.size > self.repository.limits.document:
            raise InvalidImage(
                f"{config.digest}: {config.size} bytes are too many for a configuration"
            )
        if not self.has(config):
            self.bring(config)
        return parse_image_config(self._read(config))

    def _read(self, one: Descriptor) -> bytes:
        """A small one out of the sink: disks forget."""
        content = self.sink.read(one)
        if not one.digest.verifies(content):
            raise StoreDamaged(
                f"blob {one.digest} holds other bytes",
                hint="mobyshell store check --repair drops it; then pull it again",
            )
        return content

    def _fits(self, manifest: Manifest) -> bool:
        if not manifest.is_image or self.matcher is None:
            return False
        return self.matcher.matches(self._config(manifest).platform)

    def _require(self, manifest: Manifest) -> None:
        config = self._config(manifest)
        check_layers(manifest, config, str(self.repository.reference))
        if self.matcher is not None and not self.matcher.matches(config.platform):
            raise NotFound(
                f"{self.repository.reference} is not for {self.matcher}",
                hint=f"it is for {config.platform}",
            )

    def announce(self, documents: list[Document], onward: Onward) -> bool:
        """Say which image comes. Whether there is one, and only one, that can be run."""
        found = [one for one in documents if isinstance(one.value, Manifest)]
        if self.matcher is None or len(found) != 1:
            return False
        descriptor, manifest = found[0].descriptor, found[0].value
        if not isinstance(manifest, Manifest) or not manifest.is_image:
            return False
        config = self._config(manifest)
        check_layers(manifest, config, str(self.repository.reference))
        onward.planned(descriptor, manifest, config)
        return True

    def bring(self, one: Descriptor) -> None:
        """Have a blob in the sink, and say so."""
        self._bring(one)
        if self.onward is not None:
            self.onward.arrived(one)

    def _bring(self, one: Descriptor) -> None:
        writer = None if self.has(one) else self._writer(one)
        if writer is None:
            self.repository.progress(AlreadyThere(one))
            return
        try:
            blobs.fetch(self.repository, one, writer)
        finally:
            writer.close()

    def _writer(self, one: Descriptor) -> BlobWriter | None:
        """A writer for it, once nobody else is writing it; None if it is there then."""
        waited = False
        while True:
            try:
                return self.sink.open_writer(one)
            except Locked:
                if not waited:
                    self.repository.progress(WaitingForOther(one))
                waited = True
                self.repository.stop.check()

    def keep(self, one: Descriptor, content: bytes, children: tuple[Descriptor, ...]) -> None:
        """Have verified bytes in the sink."""
        writer = self._writer(one)
        if writer is None:
            return
        try:
            mixed = writer.offset > 0
            writer.write(content[writer.offset :])
            try:
                writer.commit(children=children, source=self.source)
            except InvalidImage:
                if not mixed:
                    raise
                writer.write(content)  # what was there from before was something else
                writer.commit(children=children, source=self.source)
            self._kept.add(one.digest)
        finally:
            writer.close()
