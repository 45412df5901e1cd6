"""Blobs to a registry: those it has are not sent, those another repository has are taken over.

Owns the two ways of sending: in one request (begun anew where it fails), or in chunks (going on
where the registry says it stands), which is also what is done where one request is told to be too
large. What it is told as the place of an upload may be elsewhere:
nothing of who we are goes there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import BinaryIO
from urllib.parse import urlencode

from mobyshell.core.errors import NotFound, RegistryFailed
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.safejson import show
from mobyshell.core.registry import blobs
from mobyshell.core.registry.authorization import scope_of
from mobyshell.core.registry.locations import Location, next_location
from mobyshell.core.registry.patience import Patience
from mobyshell.core.registry.progress import (
    AlreadyThere,
    TransferAdvanced,
    TransferDone,
    TransferStarted,
)
from mobyshell.core.registry.session import Repository
from mobyshell.core.registry.transport import Response, Unreachable
from mobyshell.core.registry.values import Endpoint

Open = Callable[[], BinaryIO]
"""Opens the bytes of the blob, from their beginning."""

_ACCEPTED = frozenset({202})
_CREATED = frozenset({201})
_STANDS = re.compile(r"(?:bytes=)?0-(\d{1,19})")
_TOO_LARGE = 413  # RFC 9110, 15.5.14
_LARGEST_CHUNK, _SMALLEST_CHUNK = 64 << 20, 64 << 10
_MOST_MOUNTS = 3
_OCTETS = {"Content-Type": "application/octet-stream"}


def push(
    repository: Repository, endpoint: Endpoint, descriptor: Descriptor, open_blob: Open, *,
    sources: tuple[str, ...] = (), chunk_size: int | None = None,
) -> None:  # fmt: skip
    """See to it that the registry has this blob.

    `sources`: repositories of the same registry that may have it. `chunk_size`: bytes of each
    request, None for one request. RegistryFailed.
    """
    if blobs.exists(repository, endpoint, descriptor):
        repository.progress(AlreadyThere(descriptor))
        return
    upload = _Upload(repository, endpoint, descriptor, open_blob)
    for source in sources[:_MOST_MOUNTS]:
        if source != repository.path and upload.mount(source):
            repository.progress(AlreadyThere(descriptor, source))
            return
    repository.progress(TransferStarted(descriptor))
    upload.send(chunk_size)
    repository.progress(TransferDone(descriptor))


class _Upload:
    """One blob on its way. `_session` is where the registry takes it, once one is open."""

    def __init__(
        self, repository: Repository, endpoint: Endpoint, descriptor: Descriptor, open_blob: Open
    ) -> None:
        self.repository, self.endpoint = repository, endpoint
        self.descriptor, self.open_blob = descriptor, open_blob
        self._session: Location | None = None
        self._least = 0

    def mount(self, source: str) -> bool:
        """Take it over from another repository. Where that fails a session is open instead."""
        scopes = (*self.repository.pushes, scope_of(source, "pull"))
        query = urlencode({"mount": self.descriptor.digest, "from": source})
        try:
            with self.repository.request(
                self.endpoint, "POST", self._uploads(query), scopes=scopes, body=b"",
                expect=_ACCEPTED | _CREATED,
            ) as response:  # fmt: skip
                if response.status == 201:
                    return True
                self._opened(response)
        except (RegistryFailed, NotFound):
            pass  # we may not read there, or there is nothing: it is sent as any other
        return False

    def send(self, chunk_size: int | None) -> None:
        """Send all of it, in one request or in several."""
        patience = self.repository.patience(f"{self.endpoint.host}, {self.descriptor.digest[:19]}")
        while True:
            try:
                session = self._session or self._begin()
                self._session = None  # it serves once
                if chunk_size is None or chunk_size >= self.descriptor.size:
                    self._whole(session)
                else:
                    self._chunks(session, max(chunk_size, self._least), patience)
                return
            except Unreachable as error:
                patience.spend(error)
            except RegistryFailed as error:
                chunk_size = self._smaller(error, chunk_size)

    def _smaller(self, error: RegistryFailed, chunk_size: int | None) -> int:
        """The chunks to try instead of what was too large; the error, if it was not that."""
        smaller = min(chunk_size or self.descriptor.size, self.descriptor.size) // 4
        if error.status != _TOO_LARGE or smaller < max(self._least, _SMALLEST_CHUNK):
            raise error
        return min(smaller, _LARGEST_CHUNK)

    def _uploads(self, query: str = "") -> Location:
        found = self.repository.location(self.endpoint, "blobs/uploads/")
        return found.with_query(query) if query else found

    def _begin(self) -> Location:
        with self.repository.request(
            self.endpoint, "POST", self._uploads(self._algorithm()), scopes=self.repository.pushes,
            body=b"", expect=_ACCEPTED,
        ) as response:  # fmt: skip
            return self._opened(response)

    def _algorithm(self) -> str:
        """What the registry has to know before the bytes come (distribution-spec 1.1)."""
        name = self.descriptor.digest.algorithm
        return "" if name == "sha256" else urlencode({"digest-algorithm": name})

    def _opened(self, response: Response) -> Location:
        word = response.header("OCI-Chunk-Min-Length")
        self._least = int(word) if word.isdecimal() and len(word) < 12 else 0
        self._session = self._next(response)
        return self._session

    def _next(self, response: Response) -> Location:
        return next_location(response.location, response.header("Location"), "upload location")

    def _whole(self, session: Location) -> None:
        size = self.descriptor.size
        with self._part(0, size) as part, self.repository.request(
            self.endpoint, "PUT", self._closing(session), scopes=self.repository.pushes,
            headers={**_OCTETS, "Content-Length": str(size)}, body=part.again,
            patient=False, expect=_CREATED,
        ):  # fmt: skip
            pass

    def _chunks(self, session: Location, chunk_size: int, patience: Patience) -> None:
        offset = 0
        while offset < self.descriptor.size:
            before = offset
            try:
                session, offset = self._chunk(session, offset, chunk_size)
                if offset <= before:
                    raise self._elsewhere()
                patience.refresh()
            except Unreachable as error:
                patience.spend(error)
                session, offset = self._stands(session)
        with self.repository.request(
            self.endpoint, "PUT", self._closing(session), scopes=self.repository.pushes, body=b"",
            headers=_OCTETS, expect=_CREATED,
        ):  # fmt: skip
            pass

    def _chunk(self, session: Location, offset: int, chunk_size: int) -> tuple[Location, int]:
        """Send one. Where the upload goes on, and at which byte."""
        end = min(offset + chunk_size, self.descriptor.size)
        with self._part(offset, end) as part, self.repository.request(
            self.endpoint, "PATCH", session, scopes=self.repository.pushes,
            headers={**_OCTETS, "Content-Length": str(end - offset),
                     "Content-Range": f"{offset}-{end - 1}"},
            body=part.again, patient=False, expect=_ACCEPTED | {204, 416},
        ) as response:  # fmt: skip
            if response.status == 416:
                raise self._elsewhere()
            return self._next(response), self._offset(response, end)

    def _elsewhere(self) -> Unreachable:
        host = self.endpoint.host
        return Unreachable(f"{host} stands elsewhere in the upload", host=host)

    def _stands(self, session: Location) -> tuple[Location, int]:
        """Where the registry stands in an upload that broke off."""
        with self.repository.request(
            self.endpoint, "GET", session, scopes=self.repository.pushes, expect=_ACCEPTED | {204}
        ) as response:
            where = self._next(response) if response.header("Location") else session
            return where, self._offset(response, 0)

    def _offset(self, response: Response, otherwise: int) -> int:
        word = response.header("Range")
        if not word:
            return otherwise
        found = _STANDS.fullmatch(word)
        if word in ("0-0", "bytes=0-0") and otherwise != 1:
            return 0  # distribution's way of saying that there is nothing yet
        if not found or int(found[1]) >= self.descriptor.size:
            raise RegistryFailed(
                f"{self.endpoint.host} answers {show(word)} as the range of an upload",
                host=self.endpoint.host,
            )
        return int(found[1]) + 1

    def _closing(self, session: Location) -> Location:
        return session.with_query(urlencode({"digest": self.descriptor.digest}))

    def _part(self, start: int, end: int) -> _Part:
        return _Part(self.repository, self.descriptor, self.open_blob, start, end)


class _Part:
    """A part of a blob as a stream, which tells how far it was read."""

    def __init__(
        self, repository: Repository, descriptor: Descriptor, open_blob: Open, start: int, end: int
    ) -> None:
        self._repository, self._descriptor, self._open = repository, descriptor, open_blob
        self._start, self._end, self._at = start, end, start
        self._file: BinaryIO | None = None

    def again(self) -> _Part:
        """The same from its beginning: each try reads it anew."""
        self.close()
        self._file, self._at = self._open(), self._start
        self._file.seek(self._start)
        return self

    def read(self, size: int = -1, /) -> bytes:
        left = self._end - self._at
        if self._file is None or not left:
            return b""
        part = self._file.read(left if size < 0 else min(size, left))
        self._at += len(part)
        self._repository.stop.check()
        self._repository.progress(TransferAdvanced(self._descriptor, self._at))
        return part

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
