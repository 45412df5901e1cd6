"""Content: containerd's rules for blobs, ingests and namespaces."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import (
    AlreadyExists,
    Locked,
    NotFound,
    OutOfRange,
    StoreDamaged,
    SyscallFailed,
    UsageError,
    WrongState,
)
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.content.values import Sharing
from mobyshell.core.store.labels import SHAREABLE
from mobyshell.core.store.store import Namespace, Store

DATA = b"hello, blob\n" * 1000
DIGEST = Digest.of(DATA)


def put(namespace: Namespace, data: bytes = DATA, **more: object) -> Digest:
    with namespace.content.writer("put") as ingest:
        ingest.write(data)
        return ingest.commit(**more).digest  # type: ignore[arg-type]


def blob_path(store: Store, digest: Digest) -> Path:
    return store.root.blobs / digest.algorithm / digest.hex


def test_what_is_written_can_be_read(store: Store, demo: Namespace) -> None:
    with demo.content.writer("ref", total=len(DATA), expected=DIGEST) as ingest:
        assert ingest.write(DATA[:100]) == 100
        assert ingest.write(DATA[100:], at=100) == len(DATA)
        assert ingest.digest() == DIGEST
        info = ingest.commit(len(DATA), DIGEST, {"a": "b"})
    assert info == demo.content.info(DIGEST)
    assert (info.size, dict(info.labels)) == (len(DATA), {"a": "b"})
    assert demo.content.read(DIGEST) == DATA
    assert demo.content.read(DIGEST, 5, 10) == DATA[5:15]
    assert demo.content.read(DIGEST, len(DATA) + 1) == b""
    with demo.content.open(DIGEST) as blob:
        assert b"".join(blob.pieces()) == DATA
    assert demo.content.verify(DIGEST) == info
    mode = blob_path(store, DIGEST).stat().st_mode
    assert stat.S_IMODE(mode) == 0o444
    assert list(store.root.ingests.iterdir()) == []


def test_sha512(demo: Namespace) -> None:
    digest = Digest.of(DATA, "sha512")
    with demo.content.writer("ref", expected=digest) as ingest:
        ingest.write(DATA)
        assert ingest.commit().digest == digest
    # named only at the commit: what was hashed otherwise is hashed again
    other = Digest.of(DATA[1:], "sha512")
    with demo.content.writer("ref") as ingest:
        ingest.write(DATA[1:])
        assert ingest.commit(expected=other).digest == other
    demo.content.verify(other)


def test_an_empty_blob(demo: Namespace) -> None:
    with demo.content.writer("ref") as ingest:
        info = ingest.commit(0)
    assert demo.content.read(info.digest) == b""


def test_an_ingest_goes_on_where_it_was(demo: Namespace) -> None:
    with demo.content.writer("ref", total=len(DATA)) as ingest:
        ingest.write(DATA[:5000])
    assert demo.content.status("ref").offset == 5000
    assert demo.content.status("ref").total == len(DATA)
    with demo.content.writer("ref", expected=DIGEST) as ingest:
        assert ingest.offset == 5000
        ingest.write(DATA[5000:])
        ingest.commit()
    assert demo.content.statuses() == []


def test_a_write_at_zero_begins_anew_and_elsewhere_is_refused(demo: Namespace) -> None:
    with demo.content.writer("ref") as ingest:
        ingest.write(b"wrong")
        with pytest.raises(OutOfRange, match="a write at 3, but 5 bytes are there"):
            ingest.write(b"x", at=3)
        with pytest.raises(OutOfRange):
            ingest.write(b"x", at=6)
        ingest.write(DATA, at=0)
        ingest.commit(expected=DIGEST)


def test_much_is_hashed_beside_the_writing(demo: Namespace) -> None:
    piece = bytearray(range(256)) * 4096
    whole = hashlib.sha256()
    with demo.content.writer("much") as ingest:
        for number in range(12):
            piece[0] = number
            whole.update(piece)
            ingest.write(piece)
            piece[0] = 255  # the caller's again, whatever the thread has got to
            if number in (6, 9):
                assert ingest.digest() == f"sha256:{whole.hexdigest()}"
        assert any(one.name == "hash" for one in threading.enumerate())
        done = ingest.commit()
    assert done.digest == f"sha256:{whole.hexdigest()}"
    demo.content.verify(done.digest)
    with demo.content.writer("given up") as ingest:
        for _ in range(12):
            ingest.write(piece)
    assert not any(one.name == "hash" for one in threading.enumerate())


@pytest.mark.parametrize(
    ("total", "expected", "message"),
    [
        (len(DATA) + 1, None, "expected are 12001"),
        (None, Digest.of(b"other"), "expected is sha256:"),
        (None, Digest.of(b"other", "sha512"), "expected is sha512:"),
    ],
)
def test_a_commit_that_fails_leaves_the_ingest(
    demo: Namespace, total: int | None, expected: Digest | None, message: str
) -> None:
    with demo.content.writer("ref") as ingest:
        ingest.write(DATA)
        with pytest.raises(WrongState, match=message):
            ingest.commit(total, expected)
        ingest.commit(len(DATA), DIGEST)


def test_a_promise_at_the_beginning_is_kept_at_the_end(demo: Namespace) -> None:
    with demo.content.writer("ref", total=3, expected=Digest.of(b"abc")) as ingest:
        ingest.write(b"abd")
        with pytest.raises(WrongState):
            ingest.commit()
    with demo.content.writer("ref") as ingest:  # remembered
        with pytest.raises(WrongState):
            ingest.commit()
        ingest.write(b"abc", at=0)
        ingest.commit()


def test_one_writer_at_a_time(demo: Namespace) -> None:
    with demo.content.writer("ref") as ingest:
        with pytest.raises(Locked, match=f"being written by process {os.getpid()}"):
            demo.content.writer("ref")
        with pytest.raises(Locked):
            demo.content.abort("ref")
        ingest.write(b"kept")
    with demo.content.writer("ref") as ingest:
        assert ingest.offset == 4


def test_who_waits_finds_the_blob(store: Store, demo: Namespace) -> None:
    ingest = demo.content.writer("ref", expected=DIGEST)
    answers: list[object] = []

    def wait() -> None:
        try:
            demo.content.writer("ref", expected=DIGEST, patience=60).close()
        except AlreadyExists as error:
            answers.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    ingest.write(DATA)
    ingest.commit()
    waiter.join(60)
    assert len(answers) == 1
    assert demo.content.statuses() == []
    assert list(store.root.ingests.iterdir()) == []


def test_what_is_there_already(demo: Namespace) -> None:
    digest = put(demo)
    with pytest.raises(AlreadyExists):
        demo.content.writer("again", expected=digest)
    assert demo.content.statuses() == []
    with demo.content.writer("unnamed") as ingest:
        ingest.write(DATA)
        with pytest.raises(AlreadyExists):
            ingest.commit()
    assert demo.content.statuses() == []
    assert demo.content.read(digest) == DATA


def test_abort(store: Store, demo: Namespace) -> None:
    with demo.content.writer("ref") as ingest:
        ingest.write(DATA)
    demo.content.abort("ref")
    assert list(store.root.ingests.iterdir()) == []
    with pytest.raises(NotFound):
        demo.content.status("ref")
    with pytest.raises(NotFound):
        demo.content.abort("ref")


def test_statuses(demo: Namespace) -> None:
    for ref in ("layer-1", "layer-2", "manifest-1"):
        demo.content.writer(ref).close()
    assert [one.ref for one in demo.content.statuses()] == ["layer-1", "layer-2", "manifest-1"]
    assert [one.ref for one in demo.content.statuses("ref~=^layer")] == ["layer-1", "layer-2"]


@pytest.mark.parametrize("ref", ["", "a\nb", "x" * 5000])
def test_references_that_are_none(demo: Namespace, ref: str) -> None:
    with pytest.raises(UsageError):
        demo.content.writer(ref)


def test_labels_are_set_singly(demo: Namespace) -> None:
    digest = put(demo, labels={"a": "1", "b": "2"})
    before = demo.content.info(digest)
    info = demo.content.update(digest, {"a": None, "c": "3"})
    assert dict(info.labels) == {"b": "2", "c": "3"}
    assert info.updated > before.updated
    assert info.created == before.created
    with pytest.raises(UsageError):
        demo.content.update(digest, {"x": "y" * 5000})


def test_walk(demo: Namespace) -> None:
    digests = sorted(put(demo, bytes([n]) * 10, labels={"n": str(n)}) for n in range(5))
    assert [one.digest for one in demo.content.walk()] == digests
    assert [one.labels["n"] for one in demo.content.walk("labels.n==3")] == ["3"]
    assert len(list(demo.content.walk("labels.n==3", f"digest=={digests[0]}"))) in (1, 2)
    assert list(demo.content.walk("size==11")) == []


def test_delete_forgets_and_keeps_the_bytes_of_others(store: Store, demo: Namespace) -> None:
    other = store.namespace("other")
    put(demo), put(other)
    demo.content.delete(DIGEST)
    with pytest.raises(NotFound) as caught:
        demo.content.read(DIGEST)
    assert "no content" in caught.value.message
    assert "namespace demo" in caught.value.message
    assert "it is in namespace other" in caught.value.hint
    assert other.content.read(DIGEST) == DATA


def test_a_namespace_has_only_what_it_has_proved(store: Store, demo: Namespace) -> None:
    put(demo)
    other = store.namespace("other")
    with pytest.raises(NotFound):
        other.content.open(DIGEST)
    with other.content.writer("ref", expected=DIGEST) as ingest:
        assert ingest.offset == 0
        ingest.write(DATA[:-1] + b"!")
        with pytest.raises(WrongState):
            ingest.commit()
        assert not other.content.has(DIGEST)
        ingest.write(DATA, at=0)
        ingest.commit()
    assert other.content.info(DIGEST).labels == {}
    assert len(list((store.root.blobs / "sha256").iterdir())) == 1


def test_what_is_shareable_is_had_for_the_asking(store: Store, demo: Namespace) -> None:
    put(demo, labels={SHAREABLE: "true", "secret": "x"})
    other = store.namespace("other")
    with pytest.raises(AlreadyExists):
        other.content.writer("ref", expected=DIGEST)
    assert other.content.read(DIGEST) == DATA
    assert other.content.info(DIGEST).labels == {}


def test_the_shared_policy(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", sharing=Sharing.SHARED) as store:
        put(store.namespace("a"))
        with pytest.raises(AlreadyExists):
            store.namespace("b").content.writer("ref", expected=DIGEST)
        assert store.namespace("b").content.read(DIGEST) == DATA


def test_a_worker_of_ours_may_have_written(demo: Namespace) -> None:
    with demo.content.writer("ref", expected=DIGEST) as ingest:
        code = "import os, sys; os.write(int(sys.argv[1]), b'hello, blob\\n' * 1000)"
        subprocess.run(
            [sys.executable, "-c", code, str(ingest.fd)], pass_fds=[ingest.fd], check=True
        )
        with pytest.raises(WrongState):
            ingest.adopt(DIGEST, 3)
        ingest.adopt(DIGEST, len(DATA))
        assert ingest.commit().digest == DIGEST
    demo.content.verify(DIGEST)


def test_diff_ids_are_of_the_bytes(store: Store, demo: Namespace) -> None:
    put(demo)
    diff_id = Digest("sha256:" + "1" * 64)
    assert demo.content.diff_id(DIGEST) is None
    demo.content.unpacked(DIGEST, diff_id)
    assert demo.content.diff_id(DIGEST) == diff_id
    with pytest.raises(NotFound):
        store.namespace("other").content.diff_id(DIGEST)


@pytest.mark.parametrize("damage", ["remove", "truncate", "append", "link", "directory"])
def test_damage_is_told_when_it_is_opened(store: Store, demo: Namespace, damage: str) -> None:
    put(demo)
    path = blob_path(store, DIGEST)
    path.chmod(0o600)
    if damage == "truncate":
        os.truncate(path, 5)
    elif damage == "append":
        path.write_bytes(DATA + b"x")
    else:
        path.unlink()
        if damage == "link":
            path.symlink_to("/etc/passwd")
        elif damage == "directory":
            path.mkdir()
    with pytest.raises(StoreDamaged, match=DIGEST):
        demo.content.read(DIGEST)


def test_a_flipped_bit_is_found_by_verify_and_mended_by_writing_again(
    store: Store, demo: Namespace
) -> None:
    put(demo)
    path = blob_path(store, DIGEST)
    path.chmod(0o600)
    path.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(StoreDamaged, match="holds other bytes"):
        demo.content.verify(DIGEST)
    put(store.namespace("other"))
    demo.content.verify(DIGEST)


def test_a_reader_reads_on_when_the_blob_goes(store: Store, demo: Namespace) -> None:
    put(demo)
    with demo.content.open(DIGEST) as blob:
        demo.content.delete(DIGEST)
        blob_path(store, DIGEST).unlink()
        assert hashlib.sha256(blob.read()).hexdigest() == DIGEST.hex


def test_the_row_of_an_ingest_is_there_only_when_its_directory_is_on_the_disk(
    store: Store, demo: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(path: Path) -> None:
        assert path == store.root.ingests
        assert len(list(path.iterdir())) == 1
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("mobyshell.core.store.content.ingests.sync_directory", dead)
        with pytest.raises(SyscallFailed, match="fsync"):
            demo.content.writer("ref")
    assert demo.content.statuses() == []
    assert put(demo) == DIGEST


def test_a_directory_that_goes_while_it_is_made_is_made_again(
    demo: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has just committed the same removes it, between the two."""
    plain, left = os.mkdir, [2]

    def mkdir(path: Any, *rest: Any, **more: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        plain(path, *rest, **more)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with demo.content.writer("layer") as ingest:
        ingest.write(b"x")
        assert ingest.commit().size == 1
    assert left[0] < 0
