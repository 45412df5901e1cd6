"""The worker: one pass from a blob to a tree, and what happens when either end goes away."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import select
import signal
import stat
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import Interrupted, InvalidLayer, SyscallFailed, WorkerLost
from mobyshell.core.linux import capabilities
from mobyshell.core.store.layers import (
    Applied,
    Compression,
    Form,
    LayerWorker,
    Limits,
    Progress,
    Region,
)
from tests.core.store.layers.archives import CHARACTER, END, member
from tests.core.store.layers.conftest import Opened
from tests.core.store.layers.trees import look

pytestmark = pytest.mark.root


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def feed(worker: LayerWorker, data: bytes, tree: int, **words: Any) -> Applied:
    """Unpack `data`."""
    fd = os.memfd_create("blob")
    try:
        os.write(fd, data)
        return worker.apply(Region(fd), tree, **words)
    finally:
        os.close(fd)


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def children() -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                line = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if int(line.rpartition(")")[2].split()[1]) == os.getpid():
                found.append(line)
    return found


@pytest.mark.parametrize("kind", Compression)
def test_one_pass_gives_tree_copy_and_digests(
    worker: LayerWorker, tree: int, tmp_path: Path, kind: Compression
) -> None:
    plain = archive(hello=b"hello\n", big=os.urandom(3 << 20))
    (tmp_path / "plain").write_bytes(plain)
    if kind is Compression.ZSTD:
        command = ["zstd", "-q", "-c", str(tmp_path / "plain")]
        blob = subprocess.run(command, capture_output=True, check=True).stdout
    else:
        blob = gzip.compress(plain) if kind is Compression.GZIP else plain
    (tmp_path / "archive").write_bytes(b"before" + blob + b"after")
    with open(tmp_path / "archive", "rb") as source, open(tmp_path / "copy", "wb") as copy:
        region = Region(source.fileno(), 6, len(blob))
        done = worker.apply(region, tree, ingest=copy.fileno(), sync=True)
    assert (tmp_path / "copy").read_bytes() == blob
    assert (done.digest, done.size) == (sha256(blob), len(blob))
    assert (done.diff_id, done.unpacked) == (sha256(plain), len(plain))
    assert (done.compression, done.entries, done.implied) == (kind, 2, ("",))
    assert (tmp_path / "tree/hello").read_bytes() == b"hello\n"


def test_a_pipe_is_read_to_its_end(worker: LayerWorker, tree: int, tmp_path: Path) -> None:
    plain = archive(big=bytes(range(256)) * 40_000)
    ours, theirs = os.pipe()

    def feed() -> None:
        with open(theirs, "wb") as pipe:
            pipe.write(plain)

    thread = threading.Thread(target=feed)
    thread.start()
    done = worker.apply(ours, tree)
    thread.join()
    os.close(ours)
    assert done.digest == done.diff_id == sha256(plain)
    assert (tmp_path / "tree/big").stat().st_size == 256 * 40_000


def test_progress_is_told_and_may_refuse(tree: int) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, archive(a=b"1")[:512])
    heard: list[Progress] = []

    def hear(progress: Progress) -> None:
        heard.append(progress)
        if progress.blob == 512:
            raise RuntimeError("enough")

    with LayerWorker() as worker, pytest.raises(RuntimeError, match="enough"):
        worker.apply(ours, tree, progress=hear)
    os.close(ours)
    os.close(theirs)
    assert heard


def test_after_an_error_the_worker_works_on(worker: LayerWorker, tree: int) -> None:
    for _ in range(2):
        ours, theirs = os.pipe()
        os.write(theirs, b"\x1f\x8b" + bytes(100))
        os.close(theirs)
        with pytest.raises(InvalidLayer, match="gzip"):
            worker.apply(ours, tree)
        os.close(ours)
        ours, theirs = os.pipe()
        os.write(theirs, archive(a=b"1"))
        os.close(theirs)
        assert worker.apply(ours, tree).entries == 1
        os.close(ours)


def test_a_death_is_told_and_leaves_no_zombie(tree: int) -> None:
    ours, theirs = os.pipe()
    before = len(children())
    with LayerWorker() as worker:

        def kill(_: Progress) -> None:
            assert worker._running is not None
            os.kill(worker._running.pid, signal.SIGKILL)

        with pytest.raises(WorkerLost, match="signal 9"):
            worker.apply(ours, tree, progress=kill)
        assert len(children()) == before
        os.write(theirs, archive(a=b"1"))
        os.close(theirs)
        assert worker.apply(ours, tree).entries == 1
    os.close(ours)
    assert len(children()) == before


@pytest.mark.parametrize("kind", [ValueError, ConnectionResetError, KeyboardInterrupt])
def test_what_progress_raises_is_the_callers_own(tree: int, kind: type[BaseException]) -> None:
    ours, theirs = os.pipe()

    def refuse(_: Progress) -> None:
        raise kind("mine")

    with LayerWorker() as worker:
        with pytest.raises(kind, match="mine"):
            worker.apply(ours, tree, progress=refuse)
        assert feed(worker, archive(a=b"1"), tree).entries == 1
    os.close(ours)
    os.close(theirs)


def test_a_descriptor_that_is_none_is_told(worker: LayerWorker, tree: int) -> None:
    with pytest.raises(SyscallFailed, match="sendmsg"):
        worker.apply(Region(999_999), tree)


def test_a_program_that_cannot_be_entered_by_is_told(tree: int) -> None:
    with pytest.raises(SyscallFailed, match="posix_spawn"):
        LayerWorker(enter=["/nowhere/unshare"]).apply(Region(tree), tree)
    with pytest.raises(WorkerLost, match="status 1"):
        LayerWorker(enter=["/bin/false"]).apply(Region(tree), tree)


def test_without_standard_descriptors(tree: int, tmp_path: Path) -> None:
    """A daemon may have closed them: their numbers are anybody's then."""
    (tmp_path / "blob").write_bytes(archive(a=b"1"))
    program = (
        "import os\nfor fd in range(3):\n    os.close(fd)\n"
        "from mobyshell.core.store.layers import LayerWorker, Region\n"
        f"blob = os.open({str(tmp_path / 'blob')!r}, os.O_RDONLY)\n"
        f"LayerWorker().apply(Region(blob), {tree})\n"
    )
    subprocess.run([sys.executable, "-c", program], pass_fds=(tree,), check=True)
    assert (tmp_path / "tree/a").read_bytes() == b"1"


def test_cancelling_from_another_thread(tree: int) -> None:
    ours, theirs = os.pipe()
    worker = LayerWorker()
    begun = threading.Event()

    def cancel() -> None:
        begun.wait(60)
        worker.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Interrupted):
        worker.apply(ours, tree, progress=lambda _: begun.set())
    thread.join()
    with pytest.raises(Interrupted):
        worker.apply(ours, tree)
    worker.close()
    worker.close()
    os.close(ours)
    os.close(theirs)


def test_the_worker_ends_with_its_owner(tree: int) -> None:
    """Killed, the owner can end nothing: the worker sees that nobody is there."""
    ours, theirs = os.pipe()
    owner = (
        "import sys\nfrom mobyshell.core.store.layers import LayerWorker\nworker = LayerWorker()\n"
        "def tell(_):\n    print(worker._running.pid, flush=True)\n"
        f"worker.apply({ours}, {tree}, progress=tell)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", owner], stdout=subprocess.PIPE, pass_fds=(ours, tree)
    ) as running:
        assert running.stdout is not None
        fd = os.pidfd_open(int(running.stdout.readline()))
        running.kill()
    assert select.select([fd], [], [], 60)[0]
    for one in (fd, ours, theirs):
        os.close(one)


def test_a_full_disk_is_not_the_layers_fault(worker: LayerWorker, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", small], check=True)
    try:
        fd = os.open(small, os.O_RDONLY)
        with pytest.raises(SyscallFailed) as caught:
            feed(worker, archive(big=os.urandom(1 << 20)), fd)
        os.close(fd)
        assert (caught.value.errno_name, caught.value.path) == ("ENOSPC", "big")
        assert caught.value.hint
    finally:
        subprocess.run(["umount", small], check=True)


def test_the_worker_has_only_the_powers_that_files_need(tree: int) -> None:
    seen: list[str] = []

    def look_at(_: Progress) -> None:
        assert worker._running is not None
        pid = worker._running.pid
        seen.append(Path(f"/proc/{pid}/status").read_text())
        assert os.stat(f"/proc/{pid}").st_uid == 0
        assert not os.readlink(f"/proc/{pid}/fd/0").startswith("pipe:")
        raise RuntimeError

    ours, theirs = os.pipe()
    with LayerWorker() as worker, pytest.raises(RuntimeError):
        worker.apply(ours, tree, progress=look_at)
    os.close(ours)
    os.close(theirs)
    fields = dict(line.split(":\t", 1) for line in seen[0].splitlines())
    assert fields["NoNewPrivs"] == "1"
    assert "CAP_SYS_PTRACE" not in capabilities.names(int(fields["CapPrm"], 16))
    assert capabilities.names(int(fields["CapEff"], 16))[:2] == ("CAP_CHOWN", "CAP_DAC_OVERRIDE")


def test_a_worker_in_a_user_namespace(tmp_path: Path, opened: Opened) -> None:
    """The seam for who is not root: devices and owners cannot be had there, and it is said so."""
    blob = b"".join((
        member("f", uid=1000, mode=0o4755, data=b"1"), member("dev", CHARACTER, device=(1, 3)),
        member("d/.wh..wh..opq"), member(".wh.gone"), END,
    ))  # fmt: skip
    with LayerWorker(enter=["/usr/bin/unshare", "--user", "--map-root-user"]) as worker:
        done = feed(worker, blob, opened(tmp_path / "tree"), form=Form.OVERLAY_USER, owners=False)
        with pytest.raises(SyscallFailed, match="Operation not permitted"):
            feed(worker, blob, opened(tmp_path / "root"), owners=False)
        with pytest.raises(SyscallFailed, match="giving it to 1000:0") as caught:
            feed(worker, blob, opened(tmp_path / "owned"), form=Form.OVERLAY_USER)
        assert "/etc/subuid" in caught.value.hint
    about = (tmp_path / "tree/f").stat()
    assert (about.st_uid, stat.S_IMODE(about.st_mode)) == (0, 0o4755)
    assert os.getxattr(tmp_path / "tree/d", "user.overlay.opaque") == b"y"
    assert stat.S_ISCHR((tmp_path / "tree/gone").lstat().st_mode)
    assert done.left_out == ("'dev': a device, which only root can make",)


def test_limits_are_told_by_name(worker: LayerWorker, tree: int, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(gzip.compress(archive(a=bytes(1 << 20))))
    with open(tmp_path / "blob", "rb") as source:
        for limits, words in (
            (Limits(unpacked=1 << 19), "unpacks to more than 524288 bytes"),
            (Limits(ratio=10, ratio_from=1 << 16), "more than 10 times its size"),
            (Limits(entries=0), "'a': more than 0 entries"),
        ):
            with pytest.raises(InvalidLayer, match=words):
                worker.apply(Region(source.fileno()), tree, limits=limits)


def test_a_tree_of_this_machine_is_as_tar_has_it(worker: LayerWorker, tmp_path: Path) -> None:
    packed = str(tmp_path / "a.tar")
    tar = ["tar", "--xattrs", "--xattrs-include=*", "-p"]
    parts = ("share/terminfo", "lib/tmpfiles.d", "bin/ping", "bin/su")
    subprocess.run([*tar, "-C", "/usr", "-cf", packed, *parts], check=True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    subprocess.run([*tar, "-C", tmp_path / "theirs", "-xf", packed], check=True)
    with open(tmp_path / "a.tar", "rb") as source:
        fd = os.open(tmp_path / "ours", os.O_RDONLY)
        done = worker.apply(Region(source.fileno()), fd)
        os.close(fd)
    theirs, ours = look(tmp_path / "theirs"), look(tmp_path / "ours")
    for name in done.implied:  # made by tar when it ran
        theirs.pop(name or ".")
        ours.pop(name or ".")
    assert ours == theirs
