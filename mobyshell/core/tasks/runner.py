"""run, the client's side: one conversation with the shim about a task from its making to its removal.

What the shim makes of it, and what becomes of a task whose client hangs up, is in `runs`.
"""

from __future__ import annotations

from contextlib import suppress

from mobyshell.core.errors import MobyshellError, ShimLost
from mobyshell.core.runtime.values import RootMount
from mobyshell.core.tasks.connect import Connection
from mobyshell.core.tasks.logs import decode
from mobyshell.core.tasks.paths import check_name
from mobyshell.core.tasks.service import Ended


class Runner:
    """See `service.Runner`. ShimLost from each step if the shim goes away."""

    SPOKEN_SINCE = 2
    """The version of the shim's language."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection, self._namespace = connection, namespace
        self._made = self._going = 0
        self.over = True
        """Whether the connection can be used for something else."""

    def create(self, id: str, spec: str, rootfs: RootMount | None) -> None:
        """See `service.Runner`."""
        words = {
            "id": check_name(id), "spec": spec,
            "rootfs": [rootfs.type, rootfs.source, *rootfs.options] if rootfs else None,
        }  # fmt: skip
        self.over = False
        self._made = self._connection.send("run", self._namespace, words)

    def start(self) -> None:
        """See `service.Runner`."""
        self._going = self._connection.send("go", self._namespace, {})

    def wait(self) -> Ended | None:
        """See `service.Runner`."""
        try:
            told = self._connection.answer(self._made)
        except MobyshellError:
            if self._going:
                with suppress(MobyshellError):  # what made it fail says more
                    self.removed()
            raise
        if told["exit_status"] is None:
            self.removed()
            return None
        lines = told["log"].encode("latin-1").split(b"\n")
        return Ended(told["exit_status"], tuple(filter(None, map(decode, lines))))

    def removed(self) -> None:
        """See `service.Runner`."""
        try:
            self._connection.answer(self._going)
        except ShimLost:
            raise
        except MobyshellError:
            self.over = True
            raise
        self.over = True
