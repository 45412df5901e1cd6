"""An OCI runtime's commands as verbs in steps: the words they are, and what their answers mean.

Owns the command lines. The shim drives these in its loop; `runc.Runc` is the same for everybody
else. A verb raises what `log.failure` makes of the runtime's words.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import MobyshellError, UsageError
from mobyshell.core.oci import Process, Resources, check_id, spec_to_json
from mobyshell.core.runtime.client import values
from mobyshell.core.runtime.client.log import failure, last_error
from mobyshell.core.runtime.client.options import (
    CheckpointOptions,
    CreateOptions,
    ExecOptions,
    GlobalOptions,
    Limits,
    RestoreOptions,
    RunOptions,
    words,
)
from mobyshell.core.runtime.client.process import Call, Finished, Memory, perform
from mobyshell.core.runtime.steps import Steps

if TYPE_CHECKING:
    from mobyshell.core.runtime.create import Stdio


@dataclass(frozen=True, slots=True)
class RuncVerbs:
    """The commands of one runtime. `timeout`: seconds for calls that end by themselves. `scratch`:
    a directory for pid files, instead of a temporary one. `launcher`: the beginning of a command line
    that becomes the one behind it (`core/linux/mounted`)."""

    command: str = "runc"
    options: GlobalOptions = field(default_factory=GlobalOptions)
    env: Mapping[str, str] | None = None
    timeout: float | None = None
    scratch: str | None = None
    launcher: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return os.path.basename(self.command)

    def call(self, command: str, *more: str, **fields: Any) -> Call:
        """The call of one command."""
        fields.setdefault("timeout", self.timeout)
        return Call(
            (self.command, *words(self.options), command, *more), self.launcher, env=self.env,
            **fields,
        )  # fmt: skip

    def _answer(self, command: str, *more: str, **fields: Any) -> Steps[Finished]:
        """Perform a command that must succeed."""
        done = yield from perform(self.call(command, *more, **fields))
        if done.status != 0:
            raise self._failure(command, done)
        return done

    def _failure(self, command: str, done: Finished) -> MobyshellError:
        # some write what is wrong with the words of a call to standard output
        return failure(self.name, command, done.status, done.log, done.stderr or done.stdout)

    def _json(self, command: str, *more: str) -> Steps[Any]:
        done = yield from self._answer(command, *more)
        try:
            return json.loads(done.stdout)
        except (ValueError, RecursionError):
            raise MobyshellError(
                f"{self.name} {command}: its answer is no JSON: {done.stdout[:100]!r}"
            ) from None

    # making

    def create(
        self, id: str, bundle: str, options: CreateOptions, stdio: Stdio | None
    ) -> Steps[int]:  # fmt: skip
        """See `Runc.create`."""
        more = ("--bundle", bundle, *words(options))
        return self._with_pid("create", more, (checked(id),), options.preserve_fds, stdio)

    def run_detached(
        self, id: str, bundle: str, options: RunOptions, stdio: Stdio | None
    ) -> Steps[int]:
        """See `Runc.run_detached`."""
        more = ("--bundle", bundle, "--detach", *words(options))
        return self._with_pid("run", more, (checked(id),), options.preserve_fds, stdio)

    def run(
        self, id: str, bundle: str, options: RunOptions, stdio: Stdio | None, timeout: float | None
    ) -> Steps[int]:
        """See `Runc.run`."""
        more = ("--bundle", bundle, *words(options), checked(id))
        return (yield from self._followed("run", more, options.preserve_fds, stdio, timeout))

    def exec(
        self, id: str, process: Process | tuple[str, ...], options: ExecOptions,
        stdio: Stdio | None, timeout: float | None,
    ) -> Steps[int]:  # fmt: skip
        """See `Runc.exec`."""
        more, after, memory = _exec_words(id, process, options)
        try:
            return (
                yield from self._followed(
                    "exec", (*more, *after), options.preserve_fds, stdio, timeout
                )
            )
        finally:
            memory.close()

    def exec_detached(
        self, id: str, process: Process | tuple[str, ...], options: ExecOptions,
        stdio: Stdio | None,
    ) -> Steps[int]:  # fmt: skip
        """See `Runc.exec_detached`."""
        more, after, memory = _exec_words(id, process, options)
        try:
            return (
                yield from self._with_pid(
                    "exec", ("--detach", *more), after, options.preserve_fds, stdio
                )
            )
        finally:
            memory.close()

    def restore_detached(
        self, id: str, bundle: str, image: str, options: RestoreOptions, stdio: Stdio | None
    ) -> Steps[int]:
        """See `Runc.restore_detached`."""
        more = ("--bundle", bundle, "--image-path", image, "--detach", *words(options))
        return self._with_pid("restore", more, (checked(id),), 0, stdio)

    def restore(
        self, id: str, bundle: str, image: str, options: RestoreOptions, stdio: Stdio | None,
        timeout: float | None,
    ) -> Steps[int]:  # fmt: skip
        """See `Runc.restore`."""
        more = ("--bundle", bundle, "--image-path", image, *words(options), checked(id))
        return (yield from self._followed("restore", more, 0, stdio, timeout))

    def _followed(
        self, command: str, more: tuple[str, ...], extra: int, stdio: Stdio | None,
        timeout: float | None,
    ) -> Steps[int]:  # fmt: skip
        """A command that ends as the container's process does. Only an error in the log tells a
        failure of the runtime from a program that ends with the same status."""
        done = yield from perform(
            self.call(
                command, *more, stdio=stdio, answers=False, extra=_extra(extra), timeout=timeout
            )
        )
        if done.status != 0 and last_error(done.log):
            raise self._failure(command, done)
        return done.status

    def _with_pid(
        self, command: str, more: tuple[str, ...], after: tuple[str, ...], extra: int,
        stdio: Stdio | None,
    ) -> Steps[int]:  # fmt: skip
        """A command that leaves a process behind; its pid."""
        directory = tempfile.mkdtemp(prefix="pid-", dir=self.scratch)
        pid_file = f"{directory}/pid"
        try:
            yield from self._answer(
                command, "--pid-file", pid_file, *more, *after, stdio=stdio, answers=False,
                extra=_extra(extra),
            )  # fmt: skip
            if not os.path.exists(pid_file):
                raise MobyshellError(
                    f"{self.name} {command}: it has written no pid file",
                    hint="is it an OCI runtime, with runc's commands?",
                )
            return read_pid_file(pid_file)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    # changing

    def start(self, id: str) -> Steps[None]:
        """See `Runc.start`."""
        yield from self._answer("start", checked(id))

    def kill(self, id: str, signal: int, every: bool) -> Steps[None]:
        """See `Runc.kill`."""
        yield from self._answer(
            "kill", *(("--all",) if every else ()), checked(id), str(int(signal))
        )

    def delete(self, id: str, force: bool) -> Steps[None]:
        """See `Runc.delete`."""
        yield from self._answer("delete", *(("--force",) if force else ()), checked(id))

    def pause(self, id: str) -> Steps[None]:
        """See `Runc.pause`."""
        yield from self._answer("pause", checked(id))

    def resume(self, id: str) -> Steps[None]:
        """See `Runc.resume`."""
        yield from self._answer("resume", checked(id))

    def update(self, id: str, limits: Limits | Resources | Mapping[str, Any]) -> Steps[None]:
        """See `Runc.update`."""
        if isinstance(limits, Limits):
            yield from self._answer("update", *words(limits), checked(id))
            return
        document = spec_to_json(limits) if isinstance(limits, Resources) else dict(limits)
        memory = Memory("resources", json.dumps(document).encode())
        try:
            yield from self._answer("update", "--resources", memory.path, checked(id))
        finally:
            memory.close()

    def checkpoint(self, id: str, image: str, options: CheckpointOptions) -> Steps[None]:
        """See `Runc.checkpoint`."""
        extra = (options.status_fd,) if options.status_fd >= 0 else ()
        more = ("--image-path", image, *words(options), checked(id))
        yield from self._answer("checkpoint", *more, extra=extra)

    # looking

    def state(self, id: str) -> Steps[values.ContainerState]:
        """See `Runc.state`."""
        return values.state((yield from self._json("state", checked(id))))

    def list(self) -> Steps[tuple[values.ContainerState, ...]]:
        """See `Runc.list`."""
        found = yield from self._json("list", "--format", "json")
        return values.states(found)

    def ps(self, id: str) -> Steps[tuple[int, ...]]:
        """See `Runc.ps`."""
        found = yield from self._json("ps", "--format", "json", checked(id))
        return values.pids(found)

    def stats(self, id: str) -> Steps[values.RuntimeEvent]:
        """See `Runc.stats`."""
        return values.event((yield from self._json("events", "--stats", checked(id))))

    def features(self) -> Steps[values.Features]:
        """See `Runc.features`."""
        return values.features((yield from self._json("features")))

    def version(self) -> Steps[values.Version]:
        """See `Runc.version`."""
        call = replace(self.call("--version"), words=(self.command, "--version"))
        done = yield from perform(call)
        if done.status != 0:
            raise self._failure("--version", done)
        return values.version(done.stdout.decode(errors="replace"))


def checked(id: str) -> str:
    """`id`, if it can be a container's: then it is neither a path nor an option. UsageError."""
    check_id(id)
    return id


def read_pid_file(path: str) -> int:
    """The number in a pid file. MobyshellError if there is none."""
    try:
        with open(path, "rb") as file:
            return int(file.read(64))
    except FileNotFoundError:
        raise MobyshellError(f"there is no pid file {path}") from None
    except ValueError:
        raise MobyshellError(f"{path} is no pid file") from None


def _extra(count: int) -> tuple[int, ...]:
    return tuple(range(3, 3 + count))


def _exec_words(
    id: str, process: Process | tuple[str, ...], options: ExecOptions
) -> tuple[tuple[str, ...], tuple[str, ...], Memory]:
    """Options, what follows them, and the file with the process, to be closed at the end."""
    checked(id)
    if not isinstance(process, Process):
        if not process:
            raise UsageError("args must not be empty")
        return tuple(words(options)), (id, *process), Memory("process")
    memory = Memory("process", json.dumps(spec_to_json(process)).encode())
    return ("--process", memory.path, *words(options)), (id,), memory
