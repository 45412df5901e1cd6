"""checkpoint: a running container's processes into images, by criu; then it is gone, or goes on."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mobyshell.core.checkpoint.criu import program
from mobyshell.core.checkpoint.criu.messages import Ask
from mobyshell.core.checkpoint.criu.service import Answer, Service
from mobyshell.core.checkpoint.criu.settings import Settings
from mobyshell.core.errors import (
    CheckpointFailed,
    MobyshellError,
    SyscallFailed,
    Unsupported,
    UsageError,
    WrongState,
)
from mobyshell.core.events import EventSink, Failed, TaskCheckpointed
from mobyshell.core.linux import cgroups
from mobyshell.core.oci import Spec, load_spec
from mobyshell.core.runtime import criu, externals
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.delete import delete
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.runtime.values import Status

LOG = "dump.log"

_READY_IS_TOLD = (3, 15, 0)
"""Since then criu tells by a notification that lazy pages can be asked for."""
_FREEZES_V2 = (3, 14, 0)


def checkpoint(
    root: Path, id: str, settings: Settings, *, sink: EventSink, note: criu.Note
) -> Steps[None]:
    """Write the container's processes to `settings.image_path`.

    Afterwards it is deleted, poststop hooks included; with `leave_running` or `pre_dump` it goes on.
    WrongState unless it runs (or is paused); Unsupported, with what would help, without a criu
    that works; CheckpointFailed if it cannot dump it, and then the container runs on. `note` is told
    what criu's log says of a failure.
    """
    state = states.read(root, id)
    now = states.status(root, state)
    if now not in (Status.RUNNING, Status.PAUSED):
        raise WrongState(f"Container cannot be checkpointed in {now} state")
    if state.root_mount:
        raise Unsupported(
            "criu cannot checkpoint a container whose root only it has mounted",
            hint="a container of a bundle with its rootfs can be",
        )
    spec = load_spec(states.directory(root, id))
    try:
        externals.refuse(spec)
        yield from _Dump(state, spec, settings, note).run()
    except MobyshellError as error:
        sink(id, Failed(verb="checkpoint", error=error.to_wire()))
        raise
    stays = settings.leave_running or settings.pre_dump
    sink(id, TaskCheckpointed(image=settings.image_path, left_running=stays))
    if not stays:
        yield from delete(root, id, force=True, sink=sink)


class _Dump:
    """One dump under way."""

    def __init__(
        self, state: states.State, spec: Spec, settings: Settings, note: criu.Note
    ) -> None:
        self.state, self.spec, self.settings, self.note = state, spec, settings, note
        self.criu = program.find(settings.program)

    def run(self) -> Steps[None]:
        settings = self.settings
        self.version = yield from criu.version(self.criu)
        yield from self._check()
        kind = Ask.PRE_DUMP if settings.pre_dump else Ask.DUMP
        with ExitStack() as held:
            options = self._options(held)
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            held.callback(os.close, null)
            service = Service(self.criu, (null, null, null))
            try:
                yield from criu.converse(service, kind, self._notified, opts=options)
            except CheckpointFailed as error:
                service.finish()
                place = settings.work_path or settings.image_path
                raise criu.explained(error, self.criu, place, LOG, self.note) from None
            finally:
                # after a pre-dump criu waits for more, until one hangs up
                service.finish()

    def _check(self) -> Steps[None]:
        settings = self.settings
        if settings.pre_dump:
            yield from criu.require_features(self.criu, mem_track=True)
        if settings.lazy_pages:
            yield from criu.require_features(self.criu, lazy_pages=True)
            if settings.status_fd >= 0:
                _must_be_writable(settings.status_fd)

    def _options(self, held: ExitStack) -> dict[str, Any]:
        settings, state = self.settings, self.state
        options = criu.common_options(settings, self.spec, LOG)
        options |= {
            "images_dir_fd": criu.directory(settings.image_path, held),
            "root": state.rootfs,
            "pid": state.pid,
            "leave_running": settings.leave_running,
            "tcp_skip_in_flight": settings.tcp_skip_in_flight,
            "link_remap": settings.link_remap,
            "external": self._namespaces(),
        }
        if settings.work_path:
            options["work_dir_fd"] = criu.directory(settings.work_path, held)
        freezer = cgroups.freezer(state.cgroups)
        if freezer and ("freezer" in state.cgroups or self.version >= _FREEZES_V2):
            options["freeze_cgroup"] = freezer[0]
        if settings.page_server is not None:
            address, port = settings.page_server
            options["ps"] = {"address": address, "port": port}
        if settings.parent_path:
            options |= {"parent_img": settings.parent_path, "track_mem": True}
        if settings.lazy_pages and settings.status_fd >= 0 and self.version < _READY_IS_TOLD:
            options["status_fd"] = settings.status_fd
        if not settings.pre_dump:
            options["ext_mnt"] = [{"key": place, "val": name} for place, name in self._mounts()]
            self._remember_streams()
        return options

    def _mounts(self) -> externals.Pairs:
        state = self.state
        mode = "v2" if set(state.cgroups) == {""} else "v1"
        found = externals.mounts(self.spec, state.rootfs, state.bundle, state.cgroups, mode)
        return [(place, place) for place, _ in found] + externals.masked(self.spec, state.pid)

    def _namespaces(self) -> list[str]:
        found = []
        for kind, path in externals.names(self.spec):
            if kind not in externals.OUTSIDE:
                continue
            short, since = externals.OUTSIDE[kind]
            program.require(self.version, since, f"a {kind} namespace that was joined")
            try:
                inode = os.stat(path).st_ino
            except OSError as error:
                raise SyscallFailed.of(error, "stat", path=path) from None
            found.append(f"{short}[{inode}]:{externals.key(kind)}")
        return found

    def _remember_streams(self) -> None:
        """Pipes of the host: who restores it gives it other ones in their place."""
        found = [self._stream(number) for number in range(3)]
        place = Path(self.settings.image_path) / externals.DESCRIPTORS
        states.write_file(place, json.dumps(found).encode("utf-8", "surrogateescape"))

    def _stream(self, number: int) -> str:
        try:
            return os.readlink(f"/proc/{self.state.pid}/fd/{number}")
        except FileNotFoundError:
            return ""  # the program has closed it

    def _notified(self, answer: Answer) -> Steps[None]:
        if answer.script == "status-ready" and self.settings.status_fd >= 0:
            try:
                os.write(self.settings.status_fd, b"\0")
                os.close(self.settings.status_fd)
            except OSError as error:
                self.note(f"can't write \\0 to status fd: {error.strerror}")
        yield from ()  # in steps, as others that have to wait


def _must_be_writable(fd: int) -> None:
    try:
        how = fcntl.fcntl(fd, fcntl.F_GETFL)
    except OSError as error:
        raise UsageError(f"invalid --status-fd argument {fd}: {error.strerror}") from None
    if how & os.O_ACCMODE == os.O_RDONLY:
        raise UsageError(f"invalid --status-fd argument {fd}: not writable")
