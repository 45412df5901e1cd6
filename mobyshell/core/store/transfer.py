"""Content as registries are given it: where a pull writes, and what a push reads.

Owns how a blob on its way is called and labelled, so that two processes that fetch the same one
fetch it once, a second try goes on where the first was cut off, and what is there is kept by what
refers to it. The other end is `core/registry/seam`, which this satisfies without knowing it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO

from mobyshell.core.errors import (
    AlreadyExists,
    InvalidImage,
    NotFound,
    UsageError,
    WrongState,
)
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.store.content.blobs import Blob
from mobyshell.core.store.content.content import Content
from mobyshell.core.store.content.ingest import Ingest
from mobyshell.core.store.labels import DISTRIBUTION_SOURCE
from mobyshell.core.store.references import child_labels
from mobyshell.core.store.store import Namespace

PATIENCE = 0.5
"""Seconds that a writer is waited for until it is told (Locked) that another process fetches the
same blob. Who pulls asks again, unless the user has had enough."""


class StoreSink:
    """Where a pull writes: the content of a namespace, under its lease."""

    def __init__(self, namespace: Namespace) -> None:
        self._content = namespace.content

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is there; then the lease holds it."""
        if not self._content.has(descriptor.digest):
            return False
        self._content.claim(descriptor.digest)
        return True

    def read(self, descriptor: Descriptor) -> bytes:
        """The bytes of a small one."""
        return self._content.read(descriptor.digest)

    def open_writer(self, descriptor: Descriptor) -> StoreWriter | None:
        """A writer, behind what an earlier try has left; None if the blob is there by now.

        Locked, if another process is writing it.
        """
        try:
            ingest = self._content.writer(
                f"layer-{descriptor.digest}", total=descriptor.size, expected=descriptor.digest,
                patience=PATIENCE,
            )  # fmt: skip
        except AlreadyExists:
            return None
        return StoreWriter(self, ingest, descriptor)

    def label(self, descriptor: Descriptor, labels: dict[str, str]) -> None:
        """Add labels to what is there; repositories to those that are known."""
        if not labels:
            return
        _add_labels(self._content, descriptor, labels)


def _add_labels(content: Content, descriptor: Descriptor, labels: Mapping[str, str]) -> None:
    known = content.info(descriptor.digest).labels
    merged: dict[str, str | None] = {}
    for key, value in labels.items():
        if key.startswith(DISTRIBUTION_SOURCE) and key in known:
            value = ",".join(dict.fromkeys([*known[key].split(","), value]))
        if known.get(key) != value:
            merged[key] = value
    if merged:
        content.update(descriptor.digest, merged)


class StoreWriter:
    """One blob on its way."""

    def __init__(self, sink: StoreSink, ingest: Ingest, descriptor: Descriptor) -> None:
        self._sink, self._ingest, self._descriptor = sink, ingest, descriptor
        if ingest.offset > descriptor.size:
            ingest.truncate()

    @property
    def offset(self) -> int:
        """How many bytes are there."""
        return self._ingest.offset

    def write(self, data: bytes) -> None:
        """Append."""
        self._ingest.write(data)

    def commit(self, *, children: tuple[Descriptor, ...] = (), source: str = "") -> None:
        """Make it visible. InvalidImage where the bytes are others; they are thrown away then."""
        labels = child_labels(children)
        registry, _, repository = source.partition("/")
        if repository:
            labels[f"{DISTRIBUTION_SOURCE}.{registry}"] = repository
        try:
            self._ingest.commit(self._descriptor.size, self._descriptor.digest, labels)
        except AlreadyExists:
            self._sink.label(self._descriptor, labels)
        except WrongState as error:
            self._ingest.truncate()
            raise InvalidImage(f"{self._descriptor.digest} is not what came: {error}") from None

    def close(self) -> None:
        """Done; what is there stays for the next try."""
        self._ingest.close()


class StoreSource:
    """What a push reads: the content of a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace, self._content = namespace, namespace.content

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is there."""
        return self._content.has(descriptor.digest)

    def read(self, descriptor: Descriptor) -> bytes:
        """The bytes of a small one."""
        return self._content.read(descriptor.digest)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """A stream of its bytes."""
        return io.BufferedReader(_Stream(self._content.open(descriptor.digest)), 1 << 20)

    def repositories(self, descriptor: Descriptor, registry: str) -> tuple[str, ...]:
        """Repositories of a registry that it came from, or went to."""
        label = self._content.info(descriptor.digest).labels.get(
            f"{DISTRIBUTION_SOURCE}.{registry}"
        )
        return tuple(one for one in (label or "").split(",") if one)

    def sent(self, descriptors: Sequence[Descriptor], registry: str, repository: str) -> None:
        """Note where they are now, too: another repository there takes them over from it. Of one whose
        labels have no room for that nothing is noted."""
        with self._namespace.scope.write():
            for one in descriptors:
                with suppress(NotFound, UsageError):
                    _add_labels(
                        self._content, one, {f"{DISTRIBUTION_SOURCE}.{registry}": repository}
                    )


class _Stream(io.RawIOBase):
    """A blob as a file that can seek."""

    def __init__(self, blob: Blob) -> None:
        super().__init__()
        self._blob, self._at = blob, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._blob.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._blob.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._blob.close()
        super().close()
