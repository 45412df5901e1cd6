"""The runtime's face: a root directory, and a method per verb.

Owns what outlives a single call: the description of the host, and the programs of containers
that are created but not started. Loads the verbs of a container's life with itself, the others when
they are called.
"""

from __future__ import annotations

import json
import os.path
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobyshell.core.clock import Clock, SystemClock
from mobyshell.core.errors import InvalidSpec
from mobyshell.core.events import EventSink, discard
from mobyshell.core.oci import Process, Spec, check_id, load_spec, spec_to_json
from mobyshell.core.runtime import directories, groups
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.choose import choose
from mobyshell.core.runtime.create import Container, Meanwhile, Stdio, Waiting, create
from mobyshell.core.runtime.delete import NOBODY, delete
from mobyshell.core.runtime.exec import ExecProcess, Ordered, Repeat, make_ready
from mobyshell.core.runtime.execs import Execs, Wanted
from mobyshell.core.runtime.execution import confinement
from mobyshell.core.runtime.executor import Executor, foresees
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.kill import kill
from mobyshell.core.runtime.operations.snapshot_root import templated
from mobyshell.core.runtime.plan import Plan
from mobyshell.core.runtime.planner import make_plan
from mobyshell.core.runtime.prepared import KEPT_PLANS, Prepared
from mobyshell.core.runtime.program import ID
from mobyshell.core.runtime.seccomp import SeccompCompiler
from mobyshell.core.runtime.spare import Spare
from mobyshell.core.runtime.start import start
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.runtime.streams import with_owned
from mobyshell.core.runtime.values import (
    PLAIN,
    Difference,
    Options,
    ProcessInfo,
    RootMount,
    Stats,
    Status,
)  # fmt: skip
from mobyshell.core.runtime.wait import wait
from mobyshell.core.values import replace

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from mobyshell.core.checkpoint.criu.settings import Settings


def _unheard(line: str) -> None:
    """For callers who do not read what an engine's log says."""


class Runtime:
    """Containers below `root`. What forks (create, exec) needs a process with one thread.

    With `systemd` the containers it creates have their cgroups from systemd; what it does to
    those that are there goes by how they were made. `spare`, `sweep`: of one who makes many. With
    `ushers` it holds on to containers in which processes were executed, until `rest`, `leave` or
    `delete`, and to what the next container will want, until `rest_ahead`: for a process that stays.
    """

    def __init__(
        self,
        root: Path,
        *,
        sink: EventSink = discard,
        clock: Clock | None = None,
        executor: Executor | None = None,
        host: Host | None = None,
        systemd: bool = False,
        spare: Spare | None = None,
        sweep: directories.Sweep | None = None,
        ushers: bool = False,
    ) -> None:
        self.root = Path(root)
        self.sink = sink
        self.clock = clock or SystemClock()
        self._executor = executor
        self._host = host
        self._systemd = systemd
        self._spare, self._sweep = spare or Spare(), sweep
        self._tidy, self._flags = True, 0
        self._seccomp = SeccompCompiler()
        self._waiting: dict[str, Waiting] = {}
        self._texts: dict[int, tuple[Spec, str]] = {}
        self._execs = Execs(self.root, sink, self._seccomp, keep=ushers)
        self.order = self._execs.order
        self._prepared: dict[tuple[str, str, int, int, Options], Prepared] = {}

    @property
    def host(self) -> Host:
        """The machine, looked at once."""
        if self._host is None:
            self._host = Host.detect()
        return self._host

    @property
    def executor(self) -> Executor:
        """What runs the plans, chosen when it is first needed."""
        if self._executor is None:
            self._executor = choose()
        return self._executor

    def plan(
        self,
        id: str,
        bundle: str,
        *,
        spec: Spec | None = None,
        rows: int = 0,
        columns: int = 0,
        options: Options = PLAIN,
    ) -> Plan:
        """The plan that `create` would execute."""
        return make_plan(
            spec or load_spec(bundle),
            bundle=bundle,
            id=id,
            host=self.host,
            rows=rows,
            columns=columns,
            compile_seccomp=self._seccomp,
            cgroup=groups.default_name(self.root, id),
            options=options,
            systemd=self._systemd,
        )

    def create(
        self,
        id: str,
        bundle: str,
        *,
        stdio: Stdio,
        spec: Spec | None = None,
        rows: int = 0,
        columns: int = 0,
        options: Options = PLAIN,
        rootfs: RootMount | None = None,
        meanwhile: Meanwhile | None = None,
        keep: Sequence[str] = (),
    ) -> Steps[Container]:
        """Make container `id` from `bundle` (with `spec` instead of its config.json, if given).

        `rootfs` is mounted on the spec's root.path; then the bundle is the container's directory
        below this root, and nothing of it is mounted in the host's mount namespace. `meanwhile` is
        called while its first process sets itself up. `keep`: what the caller has in that directory,
        which may be there already, and stays (see `delete`).
        """
        spec = spec or load_spec(bundle)
        check_id(id)
        options, snapshot = with_owned(options, stdio, spec.process), ""
        if rootfs is not None:
            bundle = f"{self.root}/{ID}"
            template, snapshot = templated(rootfs)
            options = replace(
                options, rootfs=template, directories=(*options.directories, root_path(spec))
            )
        tidy, self._tidy = self._tidy, False
        text = self._text(spec)
        prepared = self._prepare(bundle, spec, text, rows, columns, options)
        self._flags = prepared.template.clone_flags
        return create(
            self.root, id, prepared, spec, text, stdio=stdio, executor=self.executor,
            sink=self.sink, clock=self.clock, keep=self._keep, options=options, snapshot=snapshot,
            spare=self._spare, meanwhile=meanwhile, tidy=tidy, keep_names=keep,
        )  # fmt: skip

    def foresee(self) -> bool:
        """Have made what a container like the last one will want, beside whatever we do until then;
        whether there is such a thing. `rest_ahead` is to be called in a while."""
        executor = self._executor
        return executor.foresee(self._flags) if foresees(executor) else False

    def rest_ahead(self, seconds: float) -> bool:
        """Hold nothing for a next container that nobody has wanted for so long; whether there is
        something else."""
        executor = self._executor
        return executor.rest(seconds) if foresees(executor) else False

    def _text(self, spec: Spec) -> str:
        """`spec` as JSON, written once for the same value."""
        known = self._texts.get(id(spec))
        if known is None or known[0] is not spec:
            while len(self._texts) >= KEPT_PLANS:
                del self._texts[next(iter(self._texts))]
            # not for people, so in one line: that is a tenth of the work
            known = self._texts[id(spec)] = spec, json.dumps(spec_to_json(spec), ensure_ascii=False)
        return known[1]

    def _prepare(
        self, bundle: str, spec: Spec, text: str, rows: int, columns: int, options: Options
    ) -> Prepared:
        """The plan and programs of a spec, made when it is first used."""
        key = (bundle, text, rows, columns, options)
        found = self._prepared.get(key)
        if found is None:
            while len(self._prepared) >= KEPT_PLANS:
                del self._prepared[next(iter(self._prepared))]
            plan = self.plan(ID, bundle, spec=spec, rows=rows, columns=columns, options=options)
            firm = (*self.host.cgroup_own.values(), *self.host.cgroup_roots.values())
            found = self._prepared[key] = Prepared(plan, frozenset(firm))
        return found

    def _keep(self, id: str, waiting: Waiting) -> None:
        self._drop(id)
        self._waiting[id] = waiting

    def _drop(self, id: str) -> None:
        waiting = self._waiting.pop(id, None)
        if waiting is not None:
            waiting.prepared.give("child", waiting.program)

    def start(
        self, id: str, *, meanwhile: Callable[[states.State], None] | None = None
    ) -> Steps[states.State]:
        """Let the program of a created container run; `meanwhile`: see `start.start`."""
        waiting = self._waiting.get(id)
        if waiting is None:
            states.read(self.root, id)
        spec = waiting.spec if waiting else load_spec(states.directory(self.root, id))
        state = yield from start(
            self.root, id, spec, waiting, executor=self.executor, sink=self.sink, clock=self.clock,
            bounds=lambda: confinement(spec, self.host, self._seccomp), meanwhile=meanwhile,
        )  # fmt: skip
        self._drop(id)
        return state

    def exec(
        self,
        id: str,
        process: Process,
        *,
        stdio: Stdio,
        rows: int = 0,
        columns: int = 0,
        cgroups: Mapping[str, str] | None = None,
        ignore_paused: bool = False,
        options: Options = PLAIN,
        meanwhile: Callable[[], None] | None = None,
        begun: Callable[[ExecProcess], None] | None = None,
        ordered: Ordered | None = None,
    ) -> Steps[ExecProcess]:
        """Run one more process in a container, in `cgroups` instead of the container's own.

        `meanwhile` is called once it is under way, while it has to be waited for; then `begun`, if
        there is a process already. That may still fail, and is gone then. `ordered`: what `order` has
        begun.
        """
        return self._execs.exec(
            id,
            Wanted(process, stdio, rows, columns, options, meanwhile or _nothing, begun or _nothing),
            self.executor, self.host, cgroups=cgroups, ignore_paused=ignore_paused, ordered=ordered,
        )  # fmt: skip

    def make_ready(self, what: Repeat) -> None:
        """Do now what can be done for an `order` before somebody wants it."""
        make_ready(what)

    def state(self, id: str) -> tuple[states.State, Status]:
        """What is known of a container, and what it is doing now."""
        state = states.read(self.root, id)
        return state, states.status(self.root, state)

    def kill(self, id: str, number: int, *, all_processes: bool = False) -> Steps[None]:
        """Signal the init, or every process."""
        return kill(self.root, id, number, all_processes=all_processes, sink=self.sink)

    def pause(self, id: str) -> Steps[None]:
        """Freeze."""
        from mobyshell.core.runtime.pause import pause

        return pause(self.root, id, sink=self.sink)

    def resume(self, id: str) -> Steps[None]:
        """Thaw."""
        from mobyshell.core.runtime.pause import resume

        return resume(self.root, id, sink=self.sink)

    def delete(
        self, id: str, *, force: bool = False, keep: Sequence[str] = (),
        known: Mapping[int, int] = NOBODY,
    ) -> Steps[None]:  # fmt: skip
        """Take back what create made, but what the caller wants to keep of its directory. `known`: its
        processes (pid → start time), should its record be lost."""
        self.leave(id)
        yield from delete(
            self.root, id, force=force, sink=self.sink, sweep=self._sweep, keep=keep, known=known
        )
        self._forget(id)

    def _forget(self, id: str) -> None:
        self._drop(id)
        self._execs.forget(id)

    def leave(self, id: str) -> None:
        """Hold nothing of a container that would outlast it."""
        self._execs.leave(id)

    def rest(self, seconds: float) -> bool:
        """Hold nothing of those in which nothing was executed for so long; whether others are held."""
        return self._execs.rest(seconds)

    def checkpoint(
        self, id: str, settings: Settings, *, note: Callable[[str], None] = _unheard
    ) -> Steps[None]:
        """Write a running container to images, by criu; it is gone then, unless it is to go on."""
        from mobyshell.core.runtime.checkpoint import checkpoint

        self.leave(id)
        yield from checkpoint(self.root, id, settings, sink=self.sink, note=note)
        if not (settings.leave_running or settings.pre_dump):
            self._forget(id)

    def restore(
        self,
        id: str,
        bundle: str,
        settings: Settings,
        *,
        stdio: Stdio,
        spec: Spec | None = None,
        note: Callable[[str], None] = _unheard,
    ) -> Steps[Container]:
        """Make container `id` of images that `checkpoint` wrote; its programs run on."""
        from mobyshell.core.runtime.restore import restore
        from mobyshell.core.runtime.restore_planner import make_restore_plan

        spec = spec or load_spec(bundle)
        check_id(id)
        plan = make_restore_plan(
            spec, bundle=bundle, id=ID, host=self.host, systemd=self._systemd,
            cgroup=groups.default_name(self.root, ID),
        )  # fmt: skip
        prepared = Prepared(plan)
        return restore(
            self.root, id, prepared, spec, settings, stdio=stdio, executor=self.executor,
            sink=self.sink, clock=self.clock, note=note,
        )  # fmt: skip

    def update(self, id: str, resources: Mapping[str, Any]) -> Steps[None]:
        """Change limits."""
        from mobyshell.core.runtime.update import update

        return update(self.root, id, resources, host=self.host, sink=self.sink)

    def wait(self, id: str, *, timeout: float | None = None) -> Steps[int]:
        """How the init ends."""
        return wait(self.root, id, timeout=timeout, clock=self.clock)

    def stats(self, id: str) -> Stats:
        """What the cgroups count."""
        from mobyshell.core.runtime.stats import stats

        return stats(self.root, id, clock=self.clock)

    def ps(self, id: str) -> list[ProcessInfo]:
        """The processes."""
        from mobyshell.core.runtime.ps import ps

        return ps(self.root, id)

    def diff(self, id: str) -> list[Difference]:
        """The spec against the kernel."""
        from mobyshell.core.runtime.diff import diff

        return diff(self.root, id)

    def list(self) -> list[tuple[states.State, Status]]:
        """All containers of this root."""
        from mobyshell.core.runtime.list import list_states

        return list_states(self.root)


def _nothing(*_: object) -> None:
    """For whoever has nothing else to do."""


def root_path(spec: Spec) -> str:
    """Where in its directory a container has its root filesystem mounted. InvalidSpec if the spec
    says anything but the name of a directory."""
    path = spec.root.path if spec.root is not None else ""
    if os.path.basename(path) != path or path in ("", ".", ".."):
        raise InvalidSpec(f"root.path of a snapshot is a name, not {path!r:.100}")
    return path
