"""Blobs that are written whole, several at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.content.blobs import Blobs
from mobyshell.core.store.content.whole import Whole
from mobyshell.core.store.store import Store

DATA = (b"one", b"two", b"")
NEW = [Whole(Digest.of(data), data, {"n": str(number)}) for number, data in enumerate(DATA)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        yield store


def test_they_are_there_and_nothing_else(store: Store) -> None:
    content = store.namespace("demo").content
    before = os.umask(0o077)
    try:
        content.add(NEW)
    finally:
        os.umask(before)
    for one in NEW:
        assert content.read(one.digest) == one.data
        assert content.info(one.digest).labels == one.labels
        assert Blobs(store.root).path(one.digest).stat().st_mode & 0o7777 == 0o444
    assert list(store.root.ingests.iterdir()) == []
    assert content.statuses() == []


def test_of_what_is_there_the_labels_are_added_and_the_bytes_mended(store: Store) -> None:
    content = store.namespace("demo").content
    content.add(NEW[:1])
    path = Blobs(store.root).path(NEW[0].digest)
    path.chmod(0o644)
    path.write_bytes(b"two")
    content.add([Whole(NEW[0].digest, NEW[0].data, {"more": "x"}), NEW[1]])
    assert content.info(NEW[0].digest).labels == {"n": "0", "more": "x"}
    assert content.verify(NEW[0].digest)
    created = list(content.walk())
    assert {one.digest for one in created} == {NEW[0].digest, NEW[1].digest}


def test_the_lease_holds_them_and_collection_takes_them_later(store: Store) -> None:
    space = store.namespace("demo")
    with space.leased() as held:
        held.content.add(NEW)
        store.collect()
        assert all(space.content.has(one.digest) for one in NEW)
    store.collect()
    assert not any(space.content.has(one.digest) for one in NEW)


def test_a_disk_that_says_no_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    content = store.namespace("demo").content

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(SyscallFailed, match="space"):
            content.add(NEW)
    assert list(content.walk()) == []
    assert list(store.root.ingests.iterdir()) == []


def test_a_writer_that_is_not_kept_leaves_nothing_and_is_not_listed(store: Store) -> None:
    content = store.namespace("demo").content
    digest = Digest.of(b"some")
    with content.writer("here", expected=digest, kept=False) as ingest:
        ingest.write(b"so")
        assert content.statuses() == []
        with pytest.raises(MobyshellError):  # it is being written
            content.writer("here", expected=digest)
    assert list(store.root.ingests.iterdir()) == []
    with content.writer("here", expected=digest, kept=False) as ingest:
        assert ingest.offset == 0
        ingest.write(b"some")
        ingest.commit()
    assert content.read(digest) == b"some"
    assert list(store.root.ingests.iterdir()) == []
