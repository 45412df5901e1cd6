"""The process that does the operations of a plan, in the namespaces they are for.

A program of its own (`work` starts it), because entering a namespace must never happen in a process
with threads or an event loop. It reads one JSON object, `host` ("" for
where it is), `netns`, `operations` and `keep_going`, and answers with one: `results`, one for each
operation that was done, and `error`, the first failure as `to_wire` has it. It takes no decisions.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux.constants import CLONE_NEWNET
from mobyshell.core.linux.links import Links
from mobyshell.core.linux.syscalls import call
from mobyshell.core.network.operations import VERBS
from mobyshell.core.network.values import CONTAINER, HOST


class Places:
    """The two network namespaces: we are in the host's, and have a socket in each.

    The container's is entered once, for that socket.
    """

    def __init__(self, host: str, netns: str) -> None:
        if host:
            fd = self._open(host)
            call("setns", fd, CLONE_NEWNET, path=host)
            os.close(fd)
        self._fds = {HOST: self._open("/proc/self/ns/net")}
        self._netns = netns
        self._links: dict[str, Links] = {}
        self._at = HOST

    def _open(self, path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=path) from None

    def fd(self, where: str) -> int:
        """A descriptor of the namespace."""
        if where not in self._fds:
            self._fds[where] = self._open(self._netns)
        return self._fds[where]

    def turn(self, where: str) -> None:
        """Mean that one's devices from now on."""
        self._at = where

    def leave_new(self) -> None:
        """Come back to the host's out of a namespace that was made here."""
        call("setns", self.fd(HOST), CLONE_NEWNET, what="coming back to the host's network")

    def links(self) -> Links:
        """The devices of the namespace that is meant."""
        if not self._links:
            if self._netns:
                call("setns", self.fd(CONTAINER), CLONE_NEWNET,
                     what="entering the network of the container")  # fmt: skip
                self._links[CONTAINER] = Links()
                self.leave_new()
            self._links[HOST] = Links()
        return self._links[self._at]

    def close(self) -> None:
        """Hang up."""
        for one in self._links.values():
            one.close()


def do(
    places: Places, operations: Sequence[Mapping[str, Any]], *, keep_going: bool = False
) -> dict[str, Any]:
    """Do them in order, up to the first that fails, or each (`keep_going`)."""
    results: list[Any] = []
    failed: MobyshellError | None = None
    for one in operations:
        try:
            places.turn(str(one["where"]))
            results.append(VERBS[one["verb"]](places, **one["arguments"]))
        except (MobyshellError, OSError) as error:
            known = (
                error if isinstance(error, MobyshellError) else SyscallFailed.of(error, one["verb"])
            )
            failed = failed or known
            results.append(None)
            if not keep_going:
                break
    return {"results": results, "error": failed.to_wire() if failed is not None else None}


def main() -> int:
    """0 if all was done."""
    task = json.load(sys.stdin)
    try:
        places = Places(task["host"], task["netns"])
        answer = do(places, task["operations"], keep_going=bool(task.get("keep_going")))
        places.close()
    except MobyshellError as error:
        answer = {"results": [], "error": error.to_wire()}
    json.dump(answer, sys.stdout)
    return 1 if answer["error"] else 0


if __name__ == "__main__":
    sys.exit(main())
