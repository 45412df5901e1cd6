"""create: from a bundle to a container whose program does not run yet (runtime.md#create)."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from mobyshell.core.clock import Clock
from mobyshell.core.errors import MobyshellError, NotFound, SyscallFailed
from mobyshell.core.events import EventSink, Failed, TaskCreated
from mobyshell.core.linux import procfs
from mobyshell.core.linux.working_directory import starting_in
from mobyshell.core.oci import Spec
from mobyshell.core.runtime import directories, hooks, out_of_memory, own_groups, report
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.environment import home
from mobyshell.core.runtime.executor import Executor, Spawned
from mobyshell.core.runtime.furnish import ASKED, Asking, furnish
from mobyshell.core.runtime.handing import user_namespaces
from mobyshell.core.runtime.host_root import HostRoot
from mobyshell.core.runtime.inside import Inside
from mobyshell.core.runtime.launch import Container as Container
from mobyshell.core.runtime.launch import Meanwhile as Meanwhile
from mobyshell.core.runtime.launch import Stdio as Stdio
from mobyshell.core.runtime.launch import hear, launch, named_kept
from mobyshell.core.runtime.notification import connected
from mobyshell.core.runtime.operations.cgroups import ASKS_FOR_GROUPS
from mobyshell.core.runtime.operations.namespaces import CLONE_FLAG
from mobyshell.core.runtime.operations.trees import MAKE_USER_NAMESPACE, START
from mobyshell.core.runtime.own_class import own_directories
from mobyshell.core.runtime.own_groups import OwnGroups
from mobyshell.core.runtime.parent import close_all, run_here
from mobyshell.core.runtime.plan import HOME, Actor, Phase, Plan, Text
from mobyshell.core.runtime.prepared import Prepared
from mobyshell.core.runtime.program import Program, put_in
from mobyshell.core.runtime.spare import Spare
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.runtime.values import PLAIN, Options, Status
from mobyshell.core.values import value

_NET_DEVICES = "mobyshell.core.linux.netdevices"


@value
class Waiting:
    """What the creator keeps until `start`: with it, errors of execve are precise."""

    spec: Spec
    prepared: Prepared
    program: Program
    reported: int


def create(
    root: Path, id: str, prepared: Prepared, spec: Spec, text: str, *, stdio: Stdio,
    executor: Executor, sink: EventSink, clock: Clock, keep: Callable[[str, Waiting], None],
    options: Options = PLAIN, snapshot: str = "", spare: Spare, meanwhile: Meanwhile | None = None,
    tidy: bool = True, keep_names: Sequence[str] = (),
) -> Steps[Container]:  # fmt: skip
    """Execute the plan up to the point where the program would start.

    `text` is the spec as JSON; `keep` takes what `start` will need. AlreadyExists if the id is
    taken; SyscallFailed with the operation that failed; HookFailed. `snapshot`: the directory of
    the container's own layer, where `options.rootfs` has a place for it. `meanwhile` is called while
    the child sets itself up. `tidy`, `keep_names`: see `directories.reserve`. After an error nothing is
    left behind, and where hooks had run, the poststop hooks have, too.
    """
    begun = clock.monotonic_ns()
    spare.take()
    try:
        making = _Creation(
            directories.reserve(root, id, keep_names, tidy=tidy), id, prepared, spec, text, stdio,
            executor, sink, clock, options, snapshot, keep_names,
        )  # fmt: skip
    except BaseException:
        spare.done()
        raise
    try:
        container = yield from making.run(meanwhile)
    except BaseException as error:
        spare.free()
        making.undo()
        if isinstance(error, MobyshellError):
            sink(id, Failed(verb="create", error=error.to_wire()))
            # what earlier hooks have made, these take back (runtime.md#lifecycle, 3 to 5, 12, 13)
            yield from making.poststop()
        raise
    finally:
        spare.done()
        making.close()
    keep(id, Waiting(spec, prepared, making.program, making.reported))
    duration = clock.monotonic_ns() - begun
    sink(id, TaskCreated(bundle=container.bundle, pid=container.pid, duration_ns=duration))
    return container


class _Creation:
    """One create under way: what it has made, so that it can be undone."""

    program: Program

    def __init__(
        self, path: Path, id: str, prepared: Prepared, spec: Spec, text: str, stdio: Stdio,
        executor: Executor, sink: EventSink, clock: Clock, options: Options, snapshot: str,
        keep_names: Sequence[str],
    ) -> None:  # fmt: skip
        self.options, self.keep_names = options, keep_names
        self.path, self.id, self.prepared, self.spec, self.text = path, id, prepared, spec, text
        self.stdio, self.executor, self.sink, self.clock = stdio, executor, sink, clock
        self.template = prepared.template
        self.groups = OwnGroups(prepared, id)
        self.host_root: HostRoot | None = None
        self.child: Spawned | None = None
        self.master: int | None = None
        self.state: states.State | None = None
        self.reported = 0
        self.hooked = False
        self.values = {"id": id, "snapshot": snapshot}
        self.bundle, self.rootfs = prepared.bundle(id)
        self.namespaces: tuple[str, ...] = ()
        """The kinds that the spec lists."""
        self._plan: Plan | None = None
        self._open = ExitStack()

    def plan(self) -> Plan:
        """The plan with this container's names in it; only errors and events need it."""
        if self._plan is None:
            self._plan = self.prepared.plan(self.id, self.values["snapshot"])
        return self._plan

    def emit(self, program: Program) -> int:
        return report.emit(self.id, self.plan, program, self.sink, template=self.template)

    def run(self, meanwhile: Meanwhile | None) -> Steps[Container]:
        if self.options.rootfs is None and not os.path.isdir(self.rootfs):
            raise NotFound(
                f"no root filesystem at {self.rootfs}",
                hint="root.path in config.json is relative to the bundle",
            )
        linux = self.spec.linux
        self.namespaces = tuple(one.type for one in linux.namespaces or ()) if linux else ()
        self.host_root = HostRoot("" if "mount" in self.namespaces else self.rootfs)
        self.groups.classes = own_directories(self.spec, self.template.resctrl, self.id)
        # known before they are made: the next start can clear away what a killed creator left
        states.write_new(self.path, states.CGROUPS, json.dumps(self.groups.known()).encode())
        for name in self.options.directories:
            os.mkdir(self.path / name, 0o755)
        with ExitStack() as held:
            ours = self._spawn(self._make("prepare", held))
            self._make("beside", held)
        assert self.child is not None
        yield from self._attach()
        # what the child does not need is done while it sets itself up
        if states.CONFIG in self.keep_names:
            states.write_file(self.path / states.CONFIG, self.text.encode())
        else:
            states.write_new(self.path, states.CONFIG, self.text.encode())
        self._write_state()
        if self.template.agent:
            self.program.fill(self.values)
        if self.template.attended:
            self._tell(ours, b"1")
        if meanwhile is not None:
            meanwhile(self._container())
        while True:
            told, handed = yield from self._hear(ours)
            if told == b"r":
                self.master = handed[0] if handed else None
                self.host_root.keep(self.path)
                break
            if told[:1] in ASKED:
                about = report.stopped_operation(self.plan(), self.program)
                asking = Asking(self.child.pid, self.program, about, self.executor)
                yield from furnish(told, handed, asking)
            elif told != ASKS_FOR_GROUPS:  # which are there by now
                yield from self._hooks()
            self._tell(ours, b"1")
        if self.program.wants(HOME):
            process = self.spec.process
            places = (f"/proc/{self.child.pid}/root", self.rootfs)
            found = home(process.user.uid if process else 0, *places)
            self.values["home"] = found
        if "home" in self.values:
            self.program.fill(self.values, HOME)
        self.reported = self.emit(self.program)
        return self._container()

    def _container(self) -> Container:
        assert self.child is not None
        assert self.state is not None
        return Container(
            self.id,
            self.child.pid,
            self.child.pidfd,
            self.bundle,
            self.master,
            self.state.pid_start,
        )

    def _make(self, part: str, held: ExitStack) -> dict[str, int]:
        """The parent's part before there is a child, or beside it; the descriptors it left open, by
        their cells, which `held` closes."""
        if not self.prepared.has(part):
            return {}
        program = self.prepared.take(part, self.values)
        names = [
            one for one in ("cgroup", START.name, *self.template.handed) if one in program.cells
        ]
        for name in names:
            program.set(name, -1)
        try:
            if MAKE_USER_NAMESPACE in self.prepared.calls(part):
                for name, fd in user_namespaces(self.template, self.executor, held).items():
                    program.set(name, fd)
            failed = self.groups.make(self.executor, program, self.template, part)
            if part == "beside" and failed is None:
                own_groups.admit(self.program)
            opened = {name: program.get(name) for name in names if program.get(name) >= 0}
            for fd in opened.values():
                held.callback(os.close, fd)
            self.emit(program)
            if failed is not None:
                left = set(report.still_open(self.plan(), program)) - set(opened.values())
                close_all(sorted(left))
                raise report.failure(self.plan(), program, failed)
            return opened
        finally:
            self.prepared.give(part, program)

    def _spawn(self, opened: dict[str, int]) -> socket.socket:
        """Make the child; returns our end of the socket to it."""
        fifo_path = f"{self.path}/{states.FIFO}"
        os.mkfifo(fifo_path, 0o600)
        # for writing too: so that the child's read waits for `start`, whoever comes and goes
        fifo = os.open(fifo_path, os.O_RDWR | os.O_CLOEXEC)
        values = self.values
        before = self.prepared.take("join", values) if self.prepared.has("join") else None
        main = self.prepared.take("child", values)
        if self.prepared.has("beside"):
            own_groups.hold_back(main)
        handed = {name: opened[name] for name in self.template.handed}
        descriptors = {"fifo": fifo, **handed, **named_kept(self.options)}
        try:
            agent = connected(self.template.agent)
            with starting_in(opened.get(START.name)), agent as listening:
                launched = launch(
                    self.executor, self.stdio, descriptors | listening, main, before,
                    flags=self.template.clone_flags, cgroup=opened.get("cgroup", -1),
                )  # fmt: skip
        except SyscallFailed as error:
            precise: MobyshellError = error
            if before is not None and error.errno == 0:
                precise = report.failure(self.plan(), before)
            self.prepared.give("child", main)
            raise precise from None
        finally:
            os.close(fifo)
            if before is not None:
                self.emit(before)
                self.prepared.give("join", before)
        self.program, self.child = launched.program, launched.child
        self.values |= {"pid": str(self.child.pid), "init": str(self.child.pid)}
        self._open.enter_context(launched.socket)
        return launched.socket

    def _attach(self) -> Steps[None]:
        """Cgroups and maps; maps that need it through newuidmap(1)."""
        assert self.child is not None
        if not self.prepared.has("attach"):
            return
        values = self.values
        plan = self.plan()
        for index, operation in plan.of(Actor.PARENT, Phase.ATTACH):
            if self.groups.start_unit(operation, self.child.pid):
                continue
            spawned = [call for call in operation.calls if call.name.startswith("@")]
            if not spawned:
                run_here(self.executor, plan, ((index, operation),), self.sink, values)
                continue
            for call in spawned:
                words = [arg.value for arg in call.args if isinstance(arg, Text)]
                if call.name == "@net_device":
                    words.insert(0, values["pid"])
                    yield from hooks.run_module(_NET_DEVICES, words, operation.title)
                else:
                    words = [word.format_map(values) for word in words]
                    yield from hooks.run_helper(words, operation.title)

    def _write_state(self) -> None:
        assert self.child is not None
        process = self.spec.process
        self.state = states.State(
            id=self.id,
            pid=self.child.pid,
            pid_start=procfs.start_time(self.child.pid),
            bundle=self.bundle,
            rootfs=self.rootfs,
            created_ns=self.clock.now_ns(),
            cgroups=self.groups.paths,
            cgroup_levels=self.groups.levels,
            unit=self.groups.unit,
            resctrl=self.groups.classes,
            namespaces=self.namespaces,
            terminal=self.template.terminal,
            args=tuple(process.args or ()) if process else (),
            annotations=states.annotations_of(self.spec.annotations),
            owner=os.geteuid(),
            root_mount=self._root_mount(),
        )
        states.write(self.path, self.state)

    def _root_mount(self) -> tuple[str, ...]:
        mount = self.options.rootfs
        if mount is None:
            return ()
        return tuple(put_in(one, self.values) for one in (mount.type, mount.source, *mount.options))

    def _tell(self, ours: socket.socket, byte: bytes) -> None:
        try:
            ours.send(byte)
        except OSError:
            raise self._failure() from None

    def _hear(self, ours: socket.socket) -> Steps[tuple[bytes, tuple[int, ...]]]:
        told, handed = yield from hear(ours)
        if not told:
            self.emit(self.program)
            raise self._failure()
        return told, handed

    def _failure(self) -> MobyshellError:
        """Why the child is gone."""
        refusal = self.child.refused() if self.child is not None else None
        called = refusal is None and report.stopped_at(self.program) >= 0
        failed = called and report.has_failed(self.plan(), self.program)
        short = None if failed else out_of_memory.told(self.groups.paths, refusal)
        return short or refusal or report.failure(self.plan(), self.program)

    def _hooks(self) -> Steps[None]:
        assert self.state is not None
        assert self.spec.hooks is not None
        given = self.spec.hooks
        document = states.oci_state(self.state, Status.CREATING)
        self.hooked = True
        # what was before there was a state `creating` is told as it was then
        earlier = {**document, "status": str(Status.CREATED)}
        yield from hooks.run("prestart", given.prestart or (), earlier, sink=self.sink)
        yield from hooks.run("createRuntime", given.create_runtime or (), document, sink=self.sink)
        inside = Inside(
            self.executor, self.state.pid, namespace_flags(self.state), root=False,
            directory=self.rootfs,  # where runc has them begin
        )  # fmt: skip
        yield from hooks.run(
            "createContainer", given.create_container or (), document, sink=self.sink,
            enter=inside,
        )  # fmt: skip

    def poststop(self) -> Steps[None]:
        """The hooks at the end of a container of which others have been told."""
        after = (self.spec.hooks.poststop or ()) if self.spec.hooks is not None else ()
        if self.hooked and self.state is not None:
            document = states.oci_state(self.state, Status.STOPPED)
            yield from hooks.run_poststop(after, document, sink=self.sink)

    def undo(self) -> None:
        """Take back everything. Best effort: the first error is what the caller hears of."""
        if self.child is not None:
            signal.pidfd_send_signal(self.child.pidfd, signal.SIGKILL)
            os.waitid(os.P_PIDFD, self.child.pidfd, os.WEXITED)
            os.close(self.child.pidfd)
            self.prepared.give("child", self.program)
        if self.master is not None:
            os.close(self.master)
        try:
            if self.host_root is not None:
                self.host_root.undo()
            self.groups.undo()
        except MobyshellError as error:
            self.sink(self.id, Failed(verb="create", error=error.to_wire()))
        finally:
            directories.forget(self.path, keep=self.keep_names)

    def close(self) -> None:
        self._open.close()
        for name in (states.CREATOR, states.CGROUPS):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}/{name}")


def namespace_flags(state: states.State) -> int:
    """The CLONE_NEW* flags of the namespaces that the container does not share with the host."""
    flags = 0
    for kind in state.namespaces:
        flags |= CLONE_FLAG[kind]
    return flags
