"""What the tests of the registry client share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.media_types import DOCUMENTS
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.registry import Client, Limits, Repository
from mobyshell.core.registry.credentials import NoKeyring
from mobyshell.core.registry.progress import ProgressEvent
from tests.core.registry.images import everything
from tests.core.registry.scripted import Registry, serving
from tests.core.registry.shelf import Shelf
from tests.faults.record import note


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A hostile answer is a point of experiment 8."""
    if report.when == "call" and "core/registry/test_hostile" in report.nodeid:
        note(8, "hostile answers", 1, int(report.failed))


QUICK = Limits(connect=10, answer=10, stall=10, backoff=0.01, longest_backoff=0.2)
"""Patience for a registry on this machine that fails on purpose."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as found:
        yield found


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(keyring=NoKeyring(), certs_d=(), plain_http=True, limits=QUICK) as found:
        yield found


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


class Listener:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.events: list[ProgressEvent] = []

    def __call__(self, event: ProgressEvent) -> None:
        self.events.append(event)

    def kinds(self) -> list[str]:
        return [type(one).__name__ for one in self.events]


@pytest.fixture
def listener() -> Listener:
    return Listener()


def repository(
    client: Client, registry: Registry, name: str = "a/b:1", **more: object
) -> Repository:
    return client.repository(parse_reference(f"{registry.host}/{name}"), **more)  # type: ignore[arg-type]


def stock(
    registry: Registry, shelf: Shelf, top: Descriptor, name: str = "a/b", tag: str = "1"
) -> None:
    """Put an image into a scripted registry, as if it had been pushed."""
    kinds = {one.digest: one for one in _descriptors(shelf, top)}
    for digest in everything(shelf, top):
        content = shelf.blobs[digest]
        if digest in kinds:
            registry.manifests[name, digest] = kinds[digest].media_type, content
        else:
            registry.blobs[name, digest] = content
    registry.manifests[name, tag] = top.media_type, shelf.blobs[top.digest]


def _descriptors(shelf: Shelf, top: Descriptor) -> list[Descriptor]:
    import json

    found = [top]
    for one in json.loads(shelf.blobs[top.digest]).get("manifests", []):
        if one["mediaType"] in DOCUMENTS:
            inner = Descriptor(media_type=one["mediaType"], digest=one["digest"], size=one["size"])
            found += _descriptors(shelf, inner)
    return found
