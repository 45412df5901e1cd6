"""What a pull writes to and a push reads from: the store, or whatever else keeps blobs.

Protocols only; a store implements them. All may be called from several threads, for different
blobs at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Protocol

from mobyshell.core.oci.descriptor import Descriptor


class BlobWriter(Protocol):
    """One blob that is being written. `offset` bytes of it are there, from now or from before."""

    @property
    def offset(self) -> int: ...

    def write(self, data: bytes, /) -> None:
        """Append."""
        ...

    def commit(self, *, children: tuple[Descriptor, ...] = (), source: str = "") -> None:
        """It is complete: verify size and digest, and make it visible and durable.

        `children` are all that it refers to; what of them is needed is there already, the other
        platforms of an index need never be. `source` is where it came from,
        `registry/repository`. InvalidImage where the bytes are others: they are thrown away
        then, and `offset` is 0.
        """
        ...

    def close(self) -> None:
        """Done with it. Without a commit, what is there is kept for the next try."""
        ...


class ContentSink(Protocol):
    """Where blobs go."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is there, so that it needs not be fetched."""
        ...

    def read(self, descriptor: Descriptor) -> bytes:
        """The bytes of a small one that is there."""
        ...

    def open_writer(self, descriptor: Descriptor) -> BlobWriter | None:
        """A writer for it; None where it is there by now (another process was faster).

        Locked where somebody else is writing it, and still is after a moment: it is asked again.
        """
        ...


class ContentSource(Protocol):
    """Where blobs come from."""

    def has(self, descriptor: Descriptor) -> bool:
        """Whether it is there at all: not every platform of an index has to be."""
        ...

    def read(self, descriptor: Descriptor) -> bytes:
        """The bytes of a small one. NotFound."""
        ...

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """A stream of its bytes, which can seek. NotFound."""
        ...

    def repositories(self, descriptor: Descriptor, registry: str) -> tuple[str, ...]:
        """Repositories of a registry that are known to have it."""
        ...

    def sent(self, descriptors: Sequence[Descriptor], registry: str, repository: str) -> None:
        """A repository has these from now on."""
        ...
