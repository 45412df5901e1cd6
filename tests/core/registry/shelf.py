"""A place for blobs in memory: what the store is to a pull and a push, with its rules."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import BinaryIO

from mobyshell.core.errors import InvalidImage, NotFound
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest


class Shelf:
    """Blobs by digest, beginnings of blobs by digest, and the order in which they were committed."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.partial: dict[Digest, bytearray] = {}
        self.order: list[Digest] = []
        self.children: dict[Digest, tuple[Descriptor, ...]] = {}
        self.sources: dict[Digest, set[str]] = {}
        self.mountable: tuple[str, ...] = ()
        self.written = 0
        self._lock = threading.Lock()

    def add(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.blobs[digest] = content
        return digest

    def has(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self.blobs

    def read(self, descriptor: Descriptor) -> bytes:
        try:
            return self.blobs[descriptor.digest]
        except KeyError:
            raise NotFound(f"no blob {descriptor.digest}") from None

    def open(self, descriptor: Descriptor) -> BinaryIO:
        return io.BytesIO(self.read(descriptor))

    def repositories(self, descriptor: Descriptor, registry: str) -> tuple[str, ...]:
        return self.mountable

    def sent(self, descriptors: Sequence[Descriptor], registry: str, repository: str) -> None:
        self.gone_to = [(one.digest, registry, repository) for one in descriptors]

    def open_writer(self, descriptor: Descriptor) -> Writer | None:
        return None if self.has(descriptor) else Writer(self, descriptor)

    def note(
        self, digest: Digest, content: bytes, children: tuple[Descriptor, ...], source: str
    ) -> None:
        with self._lock:
            assert not any(
                digest == one.digest for known in self.order for one in self.children[known]
            )
            self.blobs[digest] = content
            self.order.append(digest)
            self.children[digest] = children
            self.sources.setdefault(digest, set()).add(source)


class Writer:
    """One blob being written; what was written stays until it is committed or found to be wrong."""

    def __init__(self, shelf: Shelf, descriptor: Descriptor) -> None:
        self._shelf, self._descriptor = shelf, descriptor
        self._data = shelf.partial.setdefault(descriptor.digest, bytearray())

    @property
    def offset(self) -> int:
        return len(self._data)

    def write(self, data: bytes, /) -> None:
        self._data += data
        self._shelf.written += len(data)

    def commit(self, *, children: tuple[Descriptor, ...] = (), source: str = "") -> None:
        content = bytes(self._data)
        if len(content) != self._descriptor.size or not self._descriptor.digest.verifies(content):
            self._data.clear()
            raise InvalidImage(f"other bytes than {self._descriptor.digest}")
        self._shelf.note(self._descriptor.digest, content, children, source)
        self._shelf.partial.pop(self._descriptor.digest)

    def close(self) -> None:
        pass
