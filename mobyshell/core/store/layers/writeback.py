"""Writing a tree to the disk while the rest of it is still being unpacked.

Whoever syncs it afterwards has less to wait for: the disk is idle while a layer is unpacked.
"""

from __future__ import annotations

import os
import threading

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.files import sync_filesystem

_INTERVAL = 0.2
"""Seconds between two syncs: for the smallest layers there is none."""


class Writeback:
    """With `with`: syncs the file system of the directory `tree` every now and then.

    At the end SyscallFailed for a write that failed: a failure is told once, to whoever syncs first
    (syncfs(2)), so it must not get lost here.
    """

    def __init__(self, tree: int) -> None:
        self._tree = tree
        self._stopped = threading.Event()
        self._error: SyscallFailed | None = None
        self._thread = threading.Thread(target=self._run, name="writeback", daemon=True)

    def _run(self) -> None:
        try:
            here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._tree)
        except OSError:
            return  # then whoever syncs it meets that, too
        try:
            while not self._stopped.wait(_INTERVAL):
                sync_filesystem(here, path="the layer's tree")
        except SyscallFailed as error:
            self._error = error
        finally:
            os.close(here)

    def __enter__(self) -> Writeback:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error
