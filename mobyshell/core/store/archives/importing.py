"""Import: from an archive into a namespace, each layer read once.

Owns the order: layers, then configuration, manifests and indexes, the name last; so that what has a
name is all there, whenever the import is killed. Only the name waits for the disk: the log is written
in order. A layer that is unpacked anyway is hashed, stored and unpacked in one pass.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from mobyshell.core.errors import (
    AlreadyExists,
    InvalidImage,
    InvalidLayer,
    NotFound,
    UsageError,
    WrongState,
)
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import check_layers, parse_document, parse_image_config
from mobyshell.core.oci.index import Index
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.platform import Matcher, matcher
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.oci.safejson import LARGEST
from mobyshell.core.store import owners
from mobyshell.core.store.archives.formats import Found, find_images
from mobyshell.core.store.archives.source import ImageSource
from mobyshell.core.store.content.ingest import Ingest
from mobyshell.core.store.content.whole import Whole
from mobyshell.core.store.images import Image
from mobyshell.core.store.layers import Applied, LayerWorker, Region
from mobyshell.core.store.references import child_labels
from mobyshell.core.store.store import Namespace
from mobyshell.core.store.unpack import Job, from_content, unpack_layers
from mobyshell.core.store.walk import DEEPEST, Resolved
from mobyshell.core.values import value

PATIENCE = 3600.0
"""Seconds that we wait for another process that is writing the same blob."""
_PIECE = 1 << 20


@value
class Imported:
    """An image that is here now. `chain_id`: of its snapshot, "" where it was not unpacked."""

    image: Image
    chain_id: str = ""


def import_images(
    namespace: Namespace, source: ImageSource, *, name: str = "", base: str = "",
    platform: Matcher | None = None, unpacked: bool = True, snapshotter: str = "",
    worker: LayerWorker | None = None,
    report: Callable[[Descriptor, int], None] | None = None,
    admit: Callable[[str, Descriptor], None] | None = None,
) -> list[Imported]:  # fmt: skip
    """Have the images of `source`, and name them.

    `name`: for the only image, instead of its own. `base`: the repository of those that have a tag
    only. `platform`: of an index only this is taken, instead of all that is there. With `unpacked`
    the image for this machine is made a snapshot of, if there is one; `worker` may be given, who
    has been started for it. `report` is told the bytes of each blob that have been stored so far.
    `admit` is asked before an image is taken, and raises if it is not to be.

    Raises:
        InvalidImage, InvalidLayer: it breaks its format, or is not what a digest says.
        NotFound: a part is missing from it, or there is none for `platform`.
        UsageError: `name` for several images, or no name for one that has none.
    """
    found = find_images(source, base=base)
    wanted = _named(found, name)
    with namespace.leased() as held:
        # every step is durable with the name that is given last
        importing = _Importing(held.relaxed(), source, found, platform, report, worker)
        done = []
        for full, target in wanted.items():
            if admit is not None:
                admit(full, target)
            chain = importing.bring(target, snapshotter if unpacked else None)
            done.append(Imported(held.images.put(full, target), chain))
    return done


def _named(found: Found, name: str) -> dict[str, Descriptor]:
    if name:
        targets = {one.digest: one for one in (*found.named.values(), *found.unnamed)}
        if len(targets) != 1:
            raise UsageError(f"there are {len(targets)} images in it; one name is for one",
                             hint=f"they are {', '.join([*found.named][:5])}")  # fmt: skip
        return {str(parse_reference(name)): next(iter(targets.values()))}
    if found.unnamed and not found.named:
        raise UsageError("the image in it has no name", hint="give it one: --name REF")
    return dict(found.named)


class _Importing:
    """One import."""

    def __init__(
        self, held: Namespace, source: ImageSource, found: Found, platform: Matcher | None,
        report: Callable[[Descriptor, int], None] | None, worker: LayerWorker | None,
    ) -> None:  # fmt: skip
        self._held, self._source, self._found = held, source, found
        self._platform, self._report, self._worker = platform, report, worker
        self._documents: dict[Digest, Manifest | Index] = {}
        self._several = owners.of_store(held.scope.root).several

    def bring(self, target: Descriptor, snapshotter: str | None) -> str:
        """Have all of it; the chain id of the snapshot made of it. `snapshotter` None: make none."""
        needed = self._needed(target, 0)
        if not needed:
            if self._platform is None:
                raise NotFound(f"of what {target.digest} names, nothing is in it")
            raise NotFound(f"there is no image for {self._platform} in it")
        ours = self._ours(needed) if snapshotter is not None else None
        labels: dict[Digest, dict[str, str]] = {}
        if ours is not None:
            worker, self._worker = self._worker, None  # it is closed then
            labels[ours.manifest.config.digest] = unpack_layers(
                self._held, ours, snapshotter=snapshotter or "", source=self._source_of,
                worker=worker,
            )  # fmt: skip
        small = []
        for one in needed:
            document = self._documents.get(one.digest)
            if isinstance(document, Manifest):
                for part in document.children:
                    if part.digest in labels:
                        small.append(Whole(part.digest, self._bytes(part), labels[part.digest]))
                    else:
                        self._copy(part)
        small += [Whole(one.digest, self._bytes(one), child_labels(self._children(one, needed)))
                  for one in needed]  # fmt: skip
        self._held.content.add(small)
        return ours.chain_ids[-1] if ours is not None and ours.chain_ids else ""

    # which documents

    def _needed(self, one: Descriptor, depth: int) -> list[Descriptor]:
        """The documents that are taken of `one`, parents first; none if it is of another platform."""
        if depth > DEEPEST:
            raise InvalidImage(f"{one.digest}: an index within {DEEPEST} others")
        document = self._document(one)
        if isinstance(document, Manifest):
            return [one] if self._fits(one, document) else []
        chosen = (
            document.manifests if self._platform is None else document.candidates(self._platform)
        )
        below: list[Descriptor] = []
        for child in chosen:
            if not (
                media_types.is_index(child.media_type) or media_types.is_manifest(child.media_type)
            ):
                continue
            if self._platform is None and not self._is_here(child):
                continue  # a sparse index: what is there, is taken
            found = self._needed(child, depth + 1)
            below += [entry for entry in found if entry not in below]
            if found and self._platform is not None:
                break
        return [one, *below] if below else []

    def _fits(self, one: Descriptor, manifest: Manifest) -> bool:
        if self._platform is None or not manifest.is_image or one.platform is not None:
            return True
        return self._platform.matches(parse_image_config(self._bytes(manifest.config)).platform)

    def _ours(self, needed: list[Descriptor]) -> Resolved | None:
        """The image among them that runs here."""
        wanted = self._platform or matcher()
        ranked = []
        for one in needed:
            document = self._documents[one.digest]
            if not isinstance(document, Manifest) or not document.is_image or one.is_attestation:
                continue
            config = parse_image_config(self._bytes(document.config), str(document.config.digest))
            check_layers(document, config, str(one.digest))
            rank = wanted.rank(config.platform)
            if rank is not None:
                ranked.append((rank, Resolved(one, document, config)))
        return min(ranked, key=lambda entry: entry[0])[1] if ranked else None

    def _children(self, one: Descriptor, needed: list[Descriptor]) -> tuple[Descriptor, ...]:
        document = self._documents[one.digest]
        if isinstance(document, Manifest):
            return document.children
        return tuple(child for child in document.children if child in needed)

    # bytes

    def _document(self, one: Descriptor) -> Manifest | Index:
        if one.digest not in self._documents:
            self._documents[one.digest] = parse_document(
                self._bytes(one), one.media_type, f"{one.digest}"
            )
        return self._documents[one.digest]

    def _bytes(self, one: Descriptor) -> bytes:
        """A small blob, verified."""
        data = self._found.made.get(one.digest)
        if data is None:
            data = self._source.read(self._found.place(one.digest), LARGEST)
        if len(data) != one.size or not one.digest.verifies(data):
            raise InvalidImage(f"{one.digest} is not what is in the archive under its name")
        return data

    def _is_here(self, one: Descriptor) -> bool:
        try:
            self._source.find(self._found.place(one.digest))
        except NotFound:
            return one.digest in self._found.made
        return True

    def _copy(self, one: Descriptor) -> None:
        """Have a blob of any size."""
        if self._held.content.has(one.digest):
            self._held.content.claim(one.digest)
            return
        region = self._region(one)
        try:
            with self._writer(one) as ingest:
                ingest.truncate()
                _pour(region, ingest.write)
                ingest.commit(one.size, one.digest)
        except AlreadyExists:
            return
        except WrongState as error:
            raise InvalidImage(f"{one.digest} is not what is in the archive: {error}") from None
        self._tell(one, one.size)

    def _region(self, one: Descriptor) -> Region:
        region = self._source.find(self._found.place(one.digest))
        if region.length != one.size:
            raise InvalidImage(
                f"{one.digest} has {region.length} bytes, and was said to have {one.size}"
            )
        return region

    def _writer(self, one: Descriptor) -> Ingest:
        return self._held.content.writer(
            f"import-{one.digest}", total=one.size, expected=one.digest, patience=PATIENCE,
            kept=False,  # its bytes are in the archive
        )  # fmt: skip

    def _source_of(self, job: Job, worker: LayerWorker) -> Applied:
        """A layer, unpacked as it is stored."""
        one = job.layer
        try:
            ingest = self._writer(one)
        except AlreadyExists:
            return from_content(self._held)(job, worker)
        with ingest:
            ingest.truncate()
            done = worker.apply(
                self._region(one), job.tree, ingest=ingest.fd, form=job.form, limits=job.limits,
                owners=self._several,
                algorithm=one.digest.algorithm, diff_algorithm=job.diff_id.algorithm,
                writeback=True, progress=job.progress,
            )  # fmt: skip
            if done.digest != one.digest:
                raise InvalidLayer(f"{one.digest} is not what is in the archive: {done.digest}")
            ingest.adopt(Digest(done.digest), done.size)
            try:
                ingest.commit(one.size, one.digest)
            except AlreadyExists:
                pass  # another process has had it at the same time
        self._tell(one, one.size)
        return done

    def _tell(self, one: Descriptor, size: int) -> None:
        if self._report is not None:
            self._report(one, size)


def _pour(region: Region, write: Callable[[bytes], object]) -> None:
    offset, left = region.offset, region.length or 0
    while left:
        data = os.pread(region.fd, min(left, _PIECE), offset)
        if not data:
            raise InvalidImage("the archive is cut off")
        write(data)
        offset, left = offset + len(data), left - len(data)
