"""A client for any OCI runtime binary: what go-runc is to Go.

    runtime = Runc("crun", options=GlobalOptions(root="/run/mine"))
    pid = runtime.create("one", "/bundles/one", stdio=Stdio(0, 1, 2))
    runtime.start("one")

Owns the blocking face; `verbs` has the same commands in steps, for a loop. Any number of threads
may share one. Errors are the tree of `core.errors`, with the last message of the runtime's log.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mobyshell.core.oci import Process, Resources
from mobyshell.core.runtime.client import values
from mobyshell.core.runtime.client.log import failure, parse
from mobyshell.core.runtime.client.options import (
    CheckpointOptions,
    CreateOptions,
    ExecOptions,
    GlobalOptions,
    Limits,
    RestoreOptions,
    RunOptions,
)
from mobyshell.core.runtime.client.process import Memory, spawn
from mobyshell.core.runtime.client.verbs import RuncVerbs, checked
from mobyshell.core.runtime.steps import run

if TYPE_CHECKING:
    from mobyshell.core.runtime.create import Stdio

_CREATE, _RUN, _EXEC = CreateOptions(), RunOptions(), ExecOptions()
_CHECKPOINT, _RESTORE = CheckpointOptions(), RestoreOptions()


class Runc:
    """The commands of the runtime `command`: a name in $PATH, or a path.

    `options` stand before every command. `env`: the environment it gets instead of ours.
    `timeout`: seconds a call may take that ends by itself (TimedOut; it is killed then). `stdio`
    of a method: what the container gets as its streams; None is /dev/null.

    Raised are NotFound, AlreadyExists, WrongState and Unsupported where the runtime's words say
    so, RuntimeFailed otherwise.
    """

    def __init__(
        self,
        command: str = "runc",
        *,
        options: GlobalOptions | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.steps = RuncVerbs(command, options or GlobalOptions(), env, timeout)
        """The same commands in steps, for a loop."""

    def create(
        self,
        id: str,
        bundle: str,
        options: CreateOptions = _CREATE,
        *,
        stdio: Stdio | None = None,
    ) -> int:
        """Make a container, up to the point before its program runs; the pid of its init."""
        return run(self.steps.create(id, bundle, options, stdio))

    def run(
        self,
        id: str,
        bundle: str,
        options: RunOptions = _RUN,
        *,
        stdio: Stdio | None = None,
        timeout: float | None = None,
    ) -> int:
        """Create, start, wait and delete; the exit status, 128+n for signal n."""
        return run(self.steps.run(id, bundle, options, stdio, timeout))

    def run_detached(
        self,
        id: str,
        bundle: str,
        options: RunOptions = _RUN,
        *,
        stdio: Stdio | None = None,
    ) -> int:
        """Create and start; the pid of its init. Who wants its status is its (sub)reaper."""
        return run(self.steps.run_detached(id, bundle, options, stdio))

    def exec(
        self,
        id: str,
        process: Process | Sequence[str],
        options: ExecOptions = _EXEC,
        *,
        stdio: Stdio | None = None,
        timeout: float | None = None,
    ) -> int:
        """Run one more process, a whole `process` object or just its arguments; how it ends."""
        return run(self.steps.exec(id, _process(process), options, stdio, timeout))

    def exec_detached(
        self,
        id: str,
        process: Process | Sequence[str],
        options: ExecOptions = _EXEC,
        *,
        stdio: Stdio | None = None,
    ) -> int:
        """Likewise, but do not wait for it; its pid."""
        return run(self.steps.exec_detached(id, _process(process), options, stdio))

    def start(self, id: str) -> None:
        """Let the program of a created container run."""
        run(self.steps.start(id))

    def kill(self, id: str, signal: int = 15, *, all_processes: bool = False) -> None:
        """Send a signal to the init, or to every process."""
        run(self.steps.kill(id, signal, all_processes))

    def delete(self, id: str, *, force: bool = False) -> None:
        """Take back what create made. `force`: kill it first; nothing if there is none."""
        run(self.steps.delete(id, force))

    def pause(self, id: str) -> None:
        """Freeze every process."""
        run(self.steps.pause(id))

    def resume(self, id: str) -> None:
        """Thaw."""
        run(self.steps.resume(id))

    def update(self, id: str, limits: Limits | Resources | Mapping[str, Any]) -> None:
        """Change limits: by flags, or by `linux.resources` of the runtime-spec (value or JSON)."""
        run(self.steps.update(id, limits))

    def checkpoint(
        self, id: str, image: str, options: CheckpointOptions = _CHECKPOINT
    ) -> None:  # fmt: skip
        """Write the container's processes to the directory `image` (by CRIU)."""
        run(self.steps.checkpoint(id, image, options))

    def restore(
        self,
        id: str,
        bundle: str,
        image: str,
        options: RestoreOptions = _RESTORE,
        *,
        stdio: Stdio | None = None,
        timeout: float | None = None,
    ) -> int:
        """Bring back what `checkpoint` wrote, and wait; the exit status."""
        return run(self.steps.restore(id, bundle, image, options, stdio, timeout))

    def restore_detached(
        self,
        id: str,
        bundle: str,
        image: str,
        options: RestoreOptions = _RESTORE,
        *,
        stdio: Stdio | None = None,
    ) -> int:
        """Bring back what `checkpoint` wrote; the pid of the init."""
        return run(self.steps.restore_detached(id, bundle, image, options, stdio))

    def state(self, id: str) -> values.ContainerState:
        """What is known of a container."""
        return run(self.steps.state(id))

    def list(self) -> tuple[values.ContainerState, ...]:
        """All containers below the root."""
        return run(self.steps.list())

    def ps(self, id: str) -> tuple[int, ...]:
        """The pids of all its processes, as the host counts."""
        return run(self.steps.ps(id))

    def stats(self, id: str) -> values.RuntimeEvent:
        """What its cgroups have counted."""
        return run(self.steps.stats(id))

    def features(self) -> values.Features:
        """What the runtime can do."""
        return run(self.steps.features())

    def version(self) -> values.Version:
        """Which program it is."""
        return run(self.steps.version())

    def events(
        self, id: str, *, interval: float = 5.0
    ) -> Generator[values.RuntimeEvent, None, None]:
        """Statistics every `interval` seconds, and what happens; until the container has ended,
        or the caller closes the generator."""
        log, err = Memory("log"), Memory("stderr")
        reading, writing = os.pipe2(os.O_CLOEXEC)
        process: subprocess.Popen[bytes] | None = None
        try:
            call = self.steps.call("events", "--interval", f"{int(interval * 1000)}ms", checked(id))
            try:
                process = spawn(call, log.path, writing, err.fd)
            finally:
                os.close(writing)
            with open(reading, "rb", closefd=False) as lines:
                for line in lines:
                    yield values.event(json.loads(line))
            status = process.wait()
            if status != 0:
                raise failure(self.steps.name, "events", status, parse(log.read()), err.read())
        finally:
            os.close(reading)
            if process is not None and process.returncode is None:
                process.kill()
                process.wait()
            log.close()
            err.close()


def _process(process: Process | Sequence[str]) -> Process | tuple[str, ...]:
    return process if isinstance(process, Process) else tuple(process)
