"""restore: a container from the images of another one's processes, by criu.

Owns what is around them: the state directory, the cgroups, the hooks, the streams. Namespaces,
mounts and processes criu makes, as they were; its first one becomes our child.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobyshell.core.checkpoint.criu import program, rooted
from mobyshell.core.checkpoint.criu.messages import Ask
from mobyshell.core.checkpoint.criu.service import FIRST_MORE, Answer, RootedService
from mobyshell.core.checkpoint.criu.settings import Settings
from mobyshell.core.clock import Clock
from mobyshell.core.errors import (
    CheckpointFailed,
    MobyshellError,
    NotFound,
    SyscallFailed,
    Unsupported,
)
from mobyshell.core.events import EventSink, Failed, TaskRestored
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.linux.namespaces import inode
from mobyshell.core.oci import Namespace, Spec, spec_to_json
from mobyshell.core.oci.safejson import read_json
from mobyshell.core.runtime import criu, directories, externals, hooks, report
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.create import Container, Stdio
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.inside import Inside
from mobyshell.core.runtime.operations.namespaces import CLONE_FLAG, loopback
from mobyshell.core.runtime.own_class import own_directories
from mobyshell.core.runtime.own_groups import OwnGroups
from mobyshell.core.runtime.parent import run_here
from mobyshell.core.runtime.plan import Actor, Phase
from mobyshell.core.runtime.prepared import Prepared
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.runtime.values import Status

LOG = "restore.log"
_ROOT = "criu-root"
_LABELS = (3, 16, 0)


def restore(
    root: Path,
    id: str,
    prepared: Prepared,
    spec: Spec,
    settings: Settings,
    *,
    stdio: Stdio,
    executor: Executor,
    sink: EventSink,
    clock: Clock,
    note: criu.Note,
) -> Steps[Container]:
    """Make container `id` of the images in `settings.image_path`; its programs run on.

    AlreadyExists if the id is taken; Unsupported without a criu that works; CheckpointFailed if it cannot
    restore them; HookFailed. After an error nothing is left, and poststop hooks have run where
    earlier ones had.
    """
    begun = clock.monotonic_ns()
    found = program.find(settings.program)
    version = yield from criu.version(found)
    making = _Restoration(
        directories.reserve(root, id),
        id,
        prepared,
        spec,
        settings,
        stdio,
        executor,
        sink,
        clock,
        note,
    )
    making.program, making.version = found, version
    try:
        container = yield from making.run()
    except BaseException as error:
        making.undo()
        if isinstance(error, MobyshellError):
            sink(id, Failed(verb="restore", error=error.to_wire()))
            yield from making.poststop()
        raise
    finally:
        making.close()
    duration = clock.monotonic_ns() - begun
    sink(id, TaskRestored(image=settings.image_path, pid=container.pid, duration_ns=duration))
    return container


class _Restoration:
    """One restore under way: what it has made, so that it can be undone."""

    program: str
    version: criu.Version

    def __init__(
        self, path: Path, id: str, prepared: Prepared, spec: Spec, settings: Settings,
        stdio: Stdio, executor: Executor, sink: EventSink, clock: Clock, note: criu.Note,
    ) -> None:  # fmt: skip
        self.path, self.id, self.prepared, self.spec = path, id, prepared, spec
        self.settings, self.stdio, self.executor = settings, stdio, executor
        self.sink, self.clock, self.note = sink, clock, note
        self.template = prepared.template
        self.groups = OwnGroups(prepared, id)
        self.pidfd = self.pid = -1
        self.master: int | None = None
        self.hooked: states.State | None = None

    def run(self) -> Steps[Container]:
        settings = self.settings
        if not os.path.isdir(self.template.rootfs):
            raise NotFound(
                f"no root filesystem at {self.template.rootfs}",
                hint="root.path in config.json is relative to the bundle",
            )
        self.groups.classes = own_directories(self.spec, self.template.resctrl, self.id)
        states.write_file(self.path / states.CGROUPS, json.dumps(self.groups.known()).encode())
        self._write_spec()
        os.mkdir(self.path / _ROOT, 0o700)
        externals.make_mount_points(self.spec, self.template.rootfs, self.template.bundle)
        self._make_groups()
        with ExitStack() as held:
            more: list[int] = []
            options = self._options(held, more)
            for path in (settings.image_path, settings.work_path):
                if path:
                    criu.directory(path, held)
            self._let_in(settings.image_path)
            service = RootedService(
                self.program, (self.stdio.stdin, self.stdio.stdout, self.stdio.stderr), more,
                rootfs=self.template.rootfs, place=str(self.path / _ROOT),
                images=settings.image_path, work=settings.work_path,
            )  # fmt: skip
            try:
                self._attach(service.pid)
                options["cg_root"] = _cgroups_of(service.pid)
                answer = yield from criu.converse(
                    service, Ask.RESTORE, self._notified, opts=options
                )
                if self.pid < 0:
                    self._restored(answer.pid)
            except CheckpointFailed as error:
                service.finish()
                where = settings.work_path or settings.image_path
                raise criu.explained(error, self.program, where, LOG, self.note) from None
            finally:
                service.finish()
        os.rmdir(self.path / _ROOT)
        return Container(self.id, self.pid, self.pidfd, self.template.bundle, self.master)

    def _let_in(self, images: str) -> None:
        """What criu makes in a user namespace opens the images first as root's group, whose powers
        it has lost, then as the namespace's root. Those get the directory if it is closed to others:
        not everybody should read what was in memory."""
        linux = self.spec.linux
        if linux is None or not any(one.type == "user" for one in linux.namespaces or ()):
            return
        owner = next((one.host_id for one in linux.uid_mappings or () if not one.container_id), 0)
        found = os.stat(images)
        if owner and found.st_uid != owner and not found.st_mode & stat.S_IXOTH:
            os.chown(images, owner, 0)
            os.chmod(images, stat.S_IMODE(found.st_mode) | stat.S_IXGRP)

    def _make_groups(self) -> None:
        if not self.prepared.has("prepare"):
            return
        made = self.prepared.take("prepare", {"id": self.id})
        try:
            failed = self.groups.make(self.executor, made, self.template)
            plan = self.prepared.plan(self.id)
            report.emit(self.id, lambda: plan, made, self.sink)
            if failed is not None:
                raise report.failure(plan, made, failed)
        finally:
            self.prepared.give("prepare", made)

    def _attach(self, pid: int) -> None:
        """criu into the container's cgroups: what it makes is born there."""
        plan = self.prepared.plan(self.id)
        for index, operation in plan.of(Actor.PARENT, Phase.ATTACH):
            if not self.groups.start_unit(operation, pid):
                values = {"pid": str(pid), "id": self.id}
                run_here(self.executor, plan, ((index, operation),), self.sink, values)

    def _options(self, held: ExitStack, more: list[int]) -> dict[str, Any]:
        settings, spec = self.settings, self.spec
        for label in (settings.lsm_profile, settings.lsm_mount_context):
            if label:
                program.require(self.version, _LABELS, "another label")
        options = criu.common_options(settings, spec, LOG)
        mode = "v2" if set(self.groups.paths) == {""} else "v1"
        found = externals.mounts(
            spec, self.template.rootfs, self.template.bundle, self.groups.paths, mode
        )
        if spec.linux and spec.linux.masked_paths:
            found.append((externals.NULL, externals.NULL))
        options |= {
            "images_dir_fd": rooted.IMAGES,
            "work_dir_fd": rooted.WORK,
            "root": str(self.path / _ROOT),
            "rst_sibling": True,
            "evasive_devices": True,
            "ext_mnt": [{"key": place, "val": source} for place, source in found],
            "inherit_fd": [*self._namespaces(held, more), *self._pipes()],
            "join_ns": self._joined(),
            "lsm_profile": settings.lsm_profile or None,
            "lsm_mount_context": settings.lsm_mount_context or None,
        }
        return options

    def _namespaces(self, held: ExitStack, more: list[int]) -> Iterator[dict[str, Any]]:
        """Those that stayed outside: criu gets the ones of now by descriptor."""
        for kind, path in externals.names(self.spec):
            if kind not in externals.OUTSIDE:
                continue
            program.require(self.version, externals.OUTSIDE[kind][1], f"a joined {kind} namespace")
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise SyscallFailed.of(
                    error, "open", path=path, hint=f"the {kind} namespace to restore into"
                ) from None
            held.callback(os.close, fd)
            yield {"key": externals.key(kind), "fd": FIRST_MORE + len(more)}
            more.append(fd)

    def _joined(self) -> list[dict[str, str]]:
        found = []
        for kind, path in externals.names(self.spec):
            if kind == "cgroup":
                raise Unsupported("criu cannot restore into a cgroup namespace that is joined")
            if kind in externals.JOINED:
                found.append({"ns": externals.JOINED[kind], "ns_file": path})
        return found

    def _pipes(self) -> Iterator[dict[str, Any]]:
        """Streams that were pipes of the host: ours take their place."""
        path = os.path.join(self.settings.image_path, externals.DESCRIPTORS)
        try:
            with open(path, "rb") as file:
                told = read_json(file.read(1 << 16), path)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=path) from None
        for number, name in enumerate(told[:3] if isinstance(told, list) else ()):
            if isinstance(name, str) and "pipe:" in name:
                yield {"key": name, "fd": number}

    def _notified(self, answer: Answer) -> Steps[None]:
        if answer.script == "setup-namespaces":
            self._loopback(answer.pid)
            yield from self._hooks(answer.pid)
        elif answer.script == "post-restore":
            self._restored(answer.pid)
        elif answer.script == "orphan-pts-master" and answer.descriptors:
            self.master = answer.descriptors[0]
            for fd in answer.descriptors[1:]:
                os.close(fd)

    def _loopback(self, pid: int) -> None:
        """As in every new network namespace; connections over it are restored afterwards."""
        listed = (self.spec.linux.namespaces or ()) if self.spec.linux else ()
        if any(one.type == "network" and not one.path for one in listed):
            kinds = CLONE_FLAG["network"]
            if any(one.type == "user" for one in listed):
                kinds |= CLONE_FLAG["user"]
            Inside(self.executor, pid, kinds, root=False).do(loopback())

    def _hooks(self, pid: int) -> Steps[None]:
        """Those that set up what criu leaves empty: its namespaces are there, nothing runs yet."""
        given = self.spec.hooks
        if given is None or not (given.prestart or given.create_runtime):
            return
        state = self.hooked = self._state(pid)
        document = states.oci_state(state, Status.CREATING)
        earlier = {**document, "status": str(Status.CREATED)}
        yield from hooks.run("prestart", given.prestart or (), earlier, sink=self.sink)
        yield from hooks.run("createRuntime", given.create_runtime or (), document, sink=self.sink)

    def _restored(self, pid: int) -> None:
        """The first process is there: from now on this is a container."""
        try:
            self.pidfd = os.pidfd_open(pid)
        except OSError as error:
            raise SyscallFailed.of(error, "pidfd_open", path=str(pid)) from None
        self.pid = pid
        kinds = (
            {one.type for one in (self.spec.linux.namespaces or ())} if self.spec.linux else set()
        )
        if (
            self.spec.linux
            and "time" not in kinds
            and inode(pid, "time") != inode(os.getpid(), "time")
        ):
            # criu hides from a container that its clocks have jumped
            listed = (*(self.spec.linux.namespaces or ()), Namespace(type="time"))
            self.spec = replace(self.spec, linux=replace(self.spec.linux, namespaces=listed))
            self._write_spec()
        states.write(self.path, self._state(pid))

    def _write_spec(self) -> None:
        text = json.dumps(spec_to_json(self.spec), ensure_ascii=False)
        states.write_file(self.path / states.CONFIG, text.encode())

    def _state(self, pid: int) -> states.State:
        linux, process = self.spec.linux, self.spec.process
        now = self.clock.now_ns()
        return states.State(
            id=self.id,
            pid=pid,
            pid_start=procfs.start_time(pid),
            bundle=self.template.bundle,
            rootfs=self.template.rootfs,
            created_ns=now,
            started_ns=now,
            cgroups=self.groups.paths,
            cgroup_levels=self.groups.levels,
            unit=self.groups.unit,
            resctrl=self.groups.classes,
            namespaces=tuple(one.type for one in linux.namespaces or ()) if linux else (),
            terminal=self.template.terminal,
            args=tuple(process.args or ()) if process else (),
            annotations=states.annotations_of(self.spec.annotations),
            owner=os.geteuid(),
        )

    def poststop(self) -> Steps[None]:
        """The hooks at the end of a container of which others have been told."""
        after = (self.spec.hooks.poststop or ()) if self.spec.hooks is not None else ()
        if self.hooked is not None:
            document = states.oci_state(self.hooked, Status.STOPPED)
            yield from hooks.run_poststop(after, document, sink=self.sink)

    def undo(self) -> None:
        """Take back everything. Best effort: the first error is what the caller hears of."""
        self._kill_rest()
        if self.pidfd >= 0:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            os.close(self.pidfd)
        if self.master is not None:
            os.close(self.master)
        try:
            self.groups.undo()
        except MobyshellError as error:
            self.sink(self.id, Failed(verb="restore", error=error.to_wire()))
        finally:
            directories.forget(self.path)

    def _kill_rest(self) -> None:
        """Whatever is in the cgroups: criu, too, may have been killed, with what it was making."""
        for path in self.groups.ours():
            for pid in cgroups.processes(path):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def close(self) -> None:
        (self.path / states.CREATOR).unlink(missing_ok=True)
        (self.path / states.CGROUPS).unlink(missing_ok=True)


def _cgroups_of(pid: int) -> list[dict[str, str]]:
    """Where criu is: cgroups of the images are restored below."""
    found = []
    for line in procfs.read_file(pid, "cgroup").decode(errors="surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        found += [{"ctrl": one, "path": path} for one in controllers.split(",")]
    return found
