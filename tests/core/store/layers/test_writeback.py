"""Writing back while a layer is unpacked: what fails then is told, for nobody hears of it again."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidLayer, SyscallFailed
from mobyshell.core.store.layers import writeback
from mobyshell.core.store.layers.writeback import Writeback


@pytest.fixture
def tree(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)


class Disk:
    """Counts syncs; the second one fails, and then `used` goes on."""

    def __init__(self) -> None:
        self.synced = threading.Semaphore(0)
        self.count = 0

    def sync(self, fd: int, *, path: str) -> None:
        self.count += 1
        self.synced.release()
        if self.count == 2:
            raise SyscallFailed("syncfs", errno.EIO, path=path)

    def used(self, tree: int, error: Exception | None = None) -> None:
        with Writeback(tree):
            for _ in range(2):
                assert self.synced.acquire(timeout=60)
            if error is not None:
                raise error


def test_a_write_that_failed_is_told_at_the_end(tree: int, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    monkeypatch.setattr(writeback, "sync_filesystem", disk.sync)
    monkeypatch.setattr(writeback, "_INTERVAL", 0.001)
    with pytest.raises(SyscallFailed, match="Input/output error"):
        disk.used(tree)
    assert disk.count == 2
    assert not any(one.name == "writeback" for one in threading.enumerate())
    os.close(tree)


def test_another_error_is_the_one(tree: int, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    monkeypatch.setattr(writeback, "sync_filesystem", disk.sync)
    monkeypatch.setattr(writeback, "_INTERVAL", 0.001)
    with pytest.raises(InvalidLayer):
        disk.used(tree, InvalidLayer("ends too early"))
    os.close(tree)


def test_a_small_layer_is_not_synced_at_all(tree: int, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    monkeypatch.setattr(writeback, "sync_filesystem", disk.sync)
    monkeypatch.setattr(writeback, "_INTERVAL", 3600.0)
    with Writeback(tree):
        pass
    assert disk.count == 0
    os.close(tree)
