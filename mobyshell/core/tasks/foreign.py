"""A runtime that is a program of its own (runc, crun, any), under the shim as ours is.

Owns what stands between: a bundle of the task's own, made from the user's; the runtime's root in
the task's directory, so that it goes with it; the terminal that comes over a console socket; and
our state.json, by which everything that only reads (ps, stats, diff, ls) works for every runtime.

    <state>/<namespace>/<id>/config.json    what the runtime is given; this directory is its bundle
    <state>/<namespace>/<id>/runtime/       the runtime's --root
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobyshell.core.clock import Clock
from mobyshell.core.errors import MobyshellError, NotFound, Unsupported
from mobyshell.core.events import (
    EventSink,
    Failed,
    TaskCreated,
    TaskPaused,
    TaskResumed,
    TaskSignalled,
    TaskStarted,
    TaskUpdated,
)
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.linux.mounted import words
from mobyshell.core.oci import ConsoleSize, Mount, Process, Spec, dump_spec
from mobyshell.core.runtime import Container, ExecProcess, State, Stdio, directories, groups
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.client import (
    ConsoleSocket,
    CreateOptions,
    ExecOptions,
    GlobalOptions,
    RuncVerbs,
)
from mobyshell.core.runtime.delete import NOBODY, delete
from mobyshell.core.runtime.kill import name_of
from mobyshell.core.runtime.runtime import root_path
from mobyshell.core.runtime.steps import Sleep, Steps
from mobyshell.core.runtime.values import RootMount
from mobyshell.core.values import replace

PATIENCE = 120.0
"""Seconds for a call of the runtime."""
_ROOT = "runtime"
_OLDEST = "1.0.2"
"""The version in what we give it: some refuse a document of a version that they do not know, and
none refuses members it does not know."""


class ForeignRuntime:
    """The verbs of the program `path` for the tasks below `root`."""

    def __init__(self, root: Path, path: str, *, sink: EventSink, clock: Clock) -> None:
        self.root, self.path = root, path
        self._sink, self._clock = sink, clock

    def _verbs(self, id: str, launcher: tuple[str, ...] = ()) -> RuncVerbs:
        directory = states.directory(self.root, id)
        return RuncVerbs(
            self.path, GlobalOptions(root=str(directory / _ROOT)), timeout=PATIENCE,
            scratch=str(directory), launcher=launcher,
        )  # fmt: skip

    # making

    def create(
        self, id: str, bundle: str, *, stdio: Stdio, spec: Spec | None = None, rows: int = 0,
        columns: int = 0, rootfs: RootMount | None = None,
        meanwhile: Callable[[Container], None] | None = None, keep: Sequence[str] = (),
    ) -> Steps[Container]:  # fmt: skip
        """Make container `id`; see `Runtime.create`. After an error nothing is left behind. A program
        tells nobody how far it is: `meanwhile` is never called, here or in `start`."""
        assert spec is not None
        begun = self._clock.monotonic_ns()
        path = directories.reserve(self.root, id, keep)
        try:
            launcher: tuple[str, ...] = ()
            if rootfs is not None:
                bundle, place = str(path), path / root_path(spec)
                place.mkdir(0o755)
                launcher = words(str(place), rootfs.type, rootfs.source, rootfs.options)
            verbs = self._verbs(id, launcher)
            container = yield from self._create(
                path, id, bundle, spec, stdio, rows, columns, verbs, rootfs
            )
        except BaseException as error:
            if isinstance(error, MobyshellError):
                self._sink(id, Failed(verb="create", error=error.to_wire()))
                yield from self._undo_made(id)
            directories.forget(path, keep=keep)
            raise
        duration = self._clock.monotonic_ns() - begun
        self._sink(id, TaskCreated(bundle=bundle, pid=container.pid, duration_ns=duration))
        return container

    def _create(
        self, path: Path, id: str, bundle: str, spec: Spec, stdio: Stdio, rows: int, columns: int,
        verbs: RuncVerbs, rootfs: RootMount | None,
    ) -> Steps[Container]:  # fmt: skip
        given = _given(spec, bundle, f"/{groups.default_name(self.root, id)}", rows, columns)
        states.write_file(path / states.CONFIG, dump_spec(given).encode())
        terminal = bool(given.process is not None and given.process.terminal)
        console = ConsoleSocket(str(path)) if terminal else None
        master: int | None = None
        try:
            options = CreateOptions(console_socket=console.path if console else "")
            pid = yield from verbs.create(id, str(path), options, stdio)
            if console is not None:
                master = yield from console.receiving(PATIENCE)
            pidfd = _pidfd(pid)
        except BaseException:
            if master is not None:
                os.close(master)
            raise
        finally:
            if console is not None:
                console.close()
        self._write_state(path, id, bundle, given, pid, rootfs)
        (path / states.CREATOR).unlink(missing_ok=True)
        return Container(id, pid, pidfd, bundle, master)

    def _write_state(
        self, path: Path, id: str, bundle: str, spec: Spec, pid: int, rootfs: RootMount | None
    ) -> None:
        """What our own reading verbs need to know of it."""
        process = spec.process
        linux = spec.linux
        state = State(
            id=id, pid=pid, pid_start=procfs.start_time(pid), bundle=bundle,
            rootfs=spec.root.path if spec.root is not None else "",
            created_ns=self._clock.now_ns(), cgroups=_cgroups_of(pid),
            namespaces=tuple(one.type for one in linux.namespaces or ()) if linux else (),
            terminal=bool(process and process.terminal),
            args=tuple(process.args or ()) if process else (),
            annotations=states.annotations_of(spec.annotations), owner=os.geteuid(),
            root_mount=(rootfs.type, rootfs.source, *rootfs.options) if rootfs else (),
        )  # fmt: skip
        states.write(path, state)

    def _undo_made(self, id: str) -> Steps[None]:
        try:
            yield from self._verbs(id).delete(id, force=True)
        except MobyshellError:
            pass  # the error that we come from says more

    def exec(
        self, id: str, process: Process, *, stdio: Stdio, rows: int = 0, columns: int = 0,
        meanwhile: Callable[[], None] | None = None,
        begun: Callable[[ExecProcess], None] | None = None,
    ) -> Steps[ExecProcess]:  # fmt: skip
        """Run one more process; see `Runtime.exec`."""
        path = states.directory(self.root, id)
        console = ConsoleSocket(str(path)) if process.terminal else None
        master: int | None = None
        try:
            options = ExecOptions(
                console_socket=console.path if console else "", tty=console is not None
            )
            pid = yield from self._verbs(id).exec_detached(
                id, _asked(process, rows, columns), options, stdio
            )
            if console is not None:
                master = yield from console.receiving(PATIENCE)
            return ExecProcess(pid, _pidfd(pid), master)
        except BaseException as error:
            if master is not None:
                os.close(master)
            if isinstance(error, MobyshellError):
                self._sink(id, Failed(verb="exec", error=error.to_wire()))
            raise
        finally:
            if console is not None:
                console.close()

    # changing

    def start(self, id: str, *, meanwhile: Callable[[State], None] | None = None) -> Steps[State]:
        """Let the program run."""
        state = states.read(self.root, id)
        try:
            yield from self._verbs(id).start(id)
        except MobyshellError as error:
            self._sink(id, Failed(verb="start", error=error.to_wire()))
            raise
        state = states.started(states.directory(self.root, id), state, self._clock.now_ns())
        self._sink(id, TaskStarted(pid=state.pid))
        return state

    def kill(self, id: str, number: int, *, all_processes: bool = False) -> Steps[None]:
        """Signal the init, or every process."""
        yield from self._verbs(id).kill(id, number, all_processes)
        self._sink(id, TaskSignalled(signal=name_of(number), all=all_processes))

    def pause(self, id: str) -> Steps[None]:
        """Freeze."""
        yield from self._verbs(id).pause(id)
        self._sink(id, TaskPaused())

    def resume(self, id: str) -> Steps[None]:
        """Thaw."""
        yield from self._verbs(id).resume(id)
        self._sink(id, TaskResumed())

    def update(self, id: str, resources: Mapping[str, Any]) -> Steps[None]:
        """Change limits."""
        yield from self._verbs(id).update(id, resources)
        self._sink(id, TaskUpdated(changed=dict(resources)))

    def delete(
        self, id: str, *, force: bool = False, keep: Sequence[str] = (),
        known: Mapping[int, int] = NOBODY,
    ) -> Steps[None]:  # fmt: skip
        """Take back what create made. WrongState if it runs, unless `force`. `keep`, `known`: see
        `Runtime.delete`."""
        path = states.directory(self.root, id)
        try:
            yield from self._verbs(id).delete(id, force)
        except NotFound:
            # the runtime knows nothing of it (any more): then what is ours can go with its process
            if _lives(self.root, id):
                raise
        except Unsupported:
            if not force:
                raise
            # its program is gone: with what we know of the container, ours can do it
            yield from delete(self.root, id, force=True, sink=self._sink, keep=keep, known=known)
            return
        except MobyshellError as error:
            self._sink(id, Failed(verb="delete", error=error.to_wire()))
            raise
        directories.forget(path, keep=keep)

    # what a dead shim left

    def undo(self, id: str) -> Steps[None]:
        """Take back a create whose shim died in it: the runtime may be at it still."""
        path = states.directory(self.root, id)
        for _ in range(int(PATIENCE / 0.05)):
            if not _calls_about(str(path / _ROOT)):
                break
            yield Sleep(0.05)
        yield from self._undo_made(id)
        shutil.rmtree(path, ignore_errors=True)


def _given(spec: Spec, bundle: str, cgroup: str, rows: int, columns: int) -> Spec:
    """The document for the runtime: with paths that mean the same from another bundle, and a
    cgroup that tells equal ids of different roots apart."""
    root = spec.root
    if root is not None:
        root = replace(root, path=os.path.join(bundle, root.path))
    mounts = spec.mounts and tuple(_anchored(one, bundle) for one in spec.mounts)
    linux = spec.linux
    if linux is not None and not linux.cgroups_path and os.geteuid() == 0:
        linux = replace(linux, cgroups_path=cgroup)
    process = spec.process and _asked(spec.process, rows, columns)
    return replace(
        spec, oci_version=_OLDEST, root=root, mounts=mounts, linux=linux, process=process
    )


def _anchored(mount: Mount, bundle: str) -> Mount:
    """A bind mount's source is relative to the bundle (config.md#mounts)."""
    options = mount.options or ()
    source = mount.source
    if source and not source.startswith("/") and (
        mount.type == "bind" or "bind" in options or "rbind" in options
    ):  # fmt: skip
        return replace(mount, source=os.path.join(bundle, source))
    return mount


def _asked(process: Process, rows: int, columns: int) -> Process:
    """With the size of its terminal; without groups where a runtime refuses any: for who is not
    root, and then the only one that `users` adds unasked is the process's anyway."""
    user = process.user
    if os.geteuid() != 0 and user.additional_gids == (user.gid,):
        process = replace(process, user=replace(user, additional_gids=None))
    if not process.terminal or not rows or not columns:
        return process
    return replace(process, console_size=ConsoleSize(height=rows, width=columns))


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise NotFound(f"process {pid} of the runtime has ended, and somebody took it") from None


def _cgroups_of(pid: int) -> dict[str, str]:
    """The cgroups of a process that are its container's own: not the top, and not ours."""
    try:
        theirs = cgroups.detect(f"/proc/{pid}/cgroup").own
    except OSError:
        return {}
    layout = cgroups.detect()
    return {
        controller: path
        for controller, path in theirs.items()
        if path not in (layout.own.get(controller), layout.roots.get(controller))
    }


def _lives(root: Path, id: str) -> bool:
    try:
        state = states.read(root, id)
    except MobyshellError:
        return False
    return procfs.alive(state.pid, state.pid_start)


def _calls_about(root: str) -> list[int]:
    """Runtimes at work on this root, by their command lines."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdecimal() and root in procfs.command_line(int(name)):
                found.append(int(name))
        except (NotFound, OSError):
            continue
    return found
