"""Blobs at a registry: fetch with resume, look whether one is there, delete."""

from __future__ import annotations

import re

from mobyshell.core.errors import InvalidImage, RegistryFailed
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.registry.manifests import cannot_delete
from mobyshell.core.registry.progress import TransferAdvanced, TransferDone, TransferStarted
from mobyshell.core.registry.seam import BlobWriter
from mobyshell.core.registry.session import Repository
from mobyshell.core.registry.transport import Response, Unreachable
from mobyshell.core.registry.values import PULL, PUSH, Endpoint

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class _Lied(RegistryFailed):
    """It sends something else than was asked for: asking again is of no use."""


def fetch(repository: Repository, descriptor: Descriptor, writer: BlobWriter) -> None:
    """Bring a blob into `writer`, from where that has it on, and commit it.

    Endpoints are asked in order: where one fails or lies the next goes on. NotFound,
    RegistryFailed; InvalidImage where the bytes are not those of the digest.
    """
    endpoints = repository.capable(PULL)
    source = f"{repository.reference.domain}/{repository.path}"
    repository.progress(TransferStarted(descriptor, writer.offset))

    def ask(endpoint: Endpoint, last: bool) -> None:
        mixed = writer.offset > 0
        download = _Download(repository, endpoint, descriptor, writer, last)
        download.run()
        try:
            writer.commit(source=source)
        except InvalidImage:
            if not mixed:
                raise _lied(endpoint.host, "other bytes", descriptor) from None
            ask(endpoint, last)  # what was there from before may have been wrong: all of it anew

    try:
        repository.first(endpoints, ask)
    except _Lied as error:
        raise InvalidImage(error.message, hint=error.hint) from None
    repository.progress(TransferDone(descriptor))


class _Download:
    """One blob from one endpoint."""

    def __init__(
        self, repository: Repository, endpoint: Endpoint, descriptor: Descriptor, writer: BlobWriter,
        patient: bool,
    ) -> None:  # fmt: skip
        self.repository, self.endpoint, self.descriptor = repository, endpoint, descriptor
        self.writer = writer
        self.patience = repository.patience(f"{endpoint.host}, {descriptor.digest[:19]}", patient)

    def run(self) -> None:
        """Until the writer has as many bytes as the descriptor says."""
        size = self.descriptor.size
        while self.writer.offset < size:
            before = self.writer.offset
            try:
                self._once(before)
            except Unreachable as error:
                if self.writer.offset - before >= self.repository.limits.progress:
                    self.patience.refresh()
                self.patience.spend(error)

    def _once(self, start: int) -> None:
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self.repository.request(
            self.endpoint, "GET", f"blobs/{self.descriptor.digest}", headers=headers,
            scopes=self.repository.pulls, patience=self.patience,
            expect=frozenset({200, 206, 416}),
        ) as response:  # fmt: skip
            skip = self._skip(response, start)
            self._check_length(response, start - skip)
            self._copy(response, skip)
        if self.writer.offset < self.descriptor.size:
            raise Unreachable(
                f"{self.endpoint.host}: the answer breaks off", host=self.endpoint.host
            )

    def _skip(self, response: Response, start: int) -> int:
        """How many of its first bytes are there already."""
        if response.status == 200:
            return start  # it knows no ranges
        found = _RANGE.fullmatch(response.header("Content-Range"))
        whole = str(self.descriptor.size)
        if response.status == 416 or not found or int(found[1]) != start or not start:
            raise _lied(self.endpoint.host, "another range than the one asked for", self.descriptor)
        if found[3] not in ("*", whole) or int(found[2]) >= self.descriptor.size:
            what = f"a range of {found[3]} bytes instead of {whole}"
            raise _lied(self.endpoint.host, what, self.descriptor)
        return 0

    def _check_length(self, response: Response, start: int) -> None:
        length, left = response.length, self.descriptor.size - start
        if length is not None and (length > left or (response.status == 200 and length != left)):
            raise _lied(self.endpoint.host, f"{length} bytes instead of {left}", self.descriptor)

    def _copy(self, response: Response, skip: int) -> None:
        left = self.descriptor.size - self.writer.offset
        for part in response.chunks():
            if skip:
                skip, part = skip - min(skip, len(part)), part[min(skip, len(part)) :]
                if not part:
                    continue
            if len(part) > left:
                raise _lied(
                    self.endpoint.host, f"more than {self.descriptor.size} bytes", self.descriptor
                )
            self.writer.write(part)
            left -= len(part)
            self.repository.progress(TransferAdvanced(self.descriptor, self.writer.offset))
            if not left and response.length is not None:
                break


def _lied(host: str, what: str, descriptor: Descriptor) -> _Lied:
    return _Lied(f"{host} answers {what} for {descriptor.digest}", host=host)


def exists(repository: Repository, endpoint: Endpoint, descriptor: Descriptor) -> bool:
    """Whether an endpoint has this blob."""
    with repository.request(
        endpoint, "HEAD", f"blobs/{descriptor.digest}", scopes=repository.pushes,
        expect=frozenset({200, 404, 405}),
    ) as response:  # fmt: skip
        return response.status == 200


def read(repository: Repository, descriptor: Descriptor, most: int) -> bytes:
    """The bytes of a small blob, verified. InvalidImage where it is larger than `most`."""
    if descriptor.size > most:
        raise InvalidImage(
            f"{descriptor.digest} has {descriptor.size} bytes", hint=f"at most {most}"
        )
    writer = _Memory(descriptor)
    fetch(repository, descriptor, writer)
    return b"".join(writer.parts)


class _Memory:
    """Keeps a small blob."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.parts: list[bytes] = []
        self.offset = 0

    def write(self, data: bytes, /) -> None:
        self.parts.append(data)
        self.offset += len(data)

    def commit(self, *, children: tuple[Descriptor, ...] = (), source: str = "") -> None:
        if not self.descriptor.digest.verifies(b"".join(self.parts)):
            self.parts, self.offset = [], 0
            raise InvalidImage(f"other bytes than {self.descriptor.digest}")

    def close(self) -> None:
        pass


def delete(repository: Repository, descriptor: Descriptor) -> None:
    """Remove a blob. NotFound; Unsupported where the registry does not delete."""
    with repository.request(
        repository.capable(PUSH)[0], "DELETE", f"blobs/{descriptor.digest}",
        scopes=repository.deletes, expect=frozenset({200, 202, 204, 400, 405}),
    ) as response:  # fmt: skip
        if response.status in (400, 405):
            raise cannot_delete(response)
