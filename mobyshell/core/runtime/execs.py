"""Further processes of a runtime's containers: their plans, made once, and the containers' ushers.

Owns what outlives one exec, and the choice of the way: by the container's usher where there is one
or may be one, else the long way of `exec`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from mobyshell.core.errors import MobyshellError
from mobyshell.core.events import EventSink
from mobyshell.core.linux.cgroups import entrances
from mobyshell.core.oci import Process, Spec, load_spec
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.exec import (
    ExecProcess,
    Ordered,
    Repeat,
    check_running,
    exec_by_usher,
    exec_process,
    let_go,
    open_groups,
    order,
    take_back,
)
from mobyshell.core.runtime.exec_planner import make_exec_plan
from mobyshell.core.runtime.execution import CompileSeccomp
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.launch import Stdio
from mobyshell.core.runtime.prepared import KEPT_EXECS, Prepared
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.runtime.streams import owned, with_owned
from mobyshell.core.runtime.ushers import Known, Ushers
from mobyshell.core.runtime.values import PLAIN, Options
from mobyshell.core.values import value


@value
class Wanted:
    """A process that is to be executed, and how."""

    process: Process
    stdio: Stdio
    rows: int
    columns: int
    options: Options
    meanwhile: Callable[[], None]
    begun: Callable[[ExecProcess], None]


@value
class _Exec:
    """A process that was executed, with its plan. `place`: the container, and what else is asked."""

    place: tuple[object, ...]
    process: Process
    spec: Spec
    prepared: Prepared


class Execs:
    """Those of the containers below `root`. With `keep` containers have ushers."""

    def __init__(
        self, root: Path, sink: EventSink, compile_seccomp: CompileSeccomp, *, keep: bool
    ) -> None:
        self._root, self._sink, self._compile_seccomp = root, sink, compile_seccomp
        self._known: list[_Exec] = []
        self._ushers = Ushers() if keep else None

    def exec(
        self, id: str, wanted: Wanted, executor: Executor, host: Host, *,
        cgroups: Mapping[str, str] | None = None, ignore_paused: bool = False,
        ordered: Ordered | None = None,
    ) -> Steps[ExecProcess]:  # fmt: skip
        """See `Runtime.exec`."""
        ushers = self._ushers if cgroups is None and wanted.options is PLAIN else None
        if ordered is None and ushers is not None and (known := ushers.of(id)) is not None:
            asked = (wanted.rows, wanted.columns, owned(wanted.stdio, wanted.process.user.uid))
            prepared = known.last(wanted.process, asked) or self._prepare(
                known.state, known.spec, known.groups, wanted, host
            )
            if known.fits(prepared):
                known.remember(wanted.process, asked, prepared)
                what = Repeat(known, prepared, wanted.process.user.uid)
                ordered = self._order(ushers, what, wanted.stdio)
        if ordered is not None and ushers is not None:
            made = yield from self._by_usher(ushers, ordered, wanted)
            if made is not None:
                return made
            ordered = None
        state = check_running(self._root, id, ignore_paused=ignore_paused)
        spec = load_spec(states.directory(self._root, id))
        groups = entrances(state.cgroups, state.pid) if cgroups is None else dict(cgroups)
        prepared = self._prepare(state, spec, groups, wanted, host)
        if ushers is not None and ushers.may(state, prepared, executor):
            posted = self._post(ushers, state, groups, prepared, executor)
            if posted is not None:
                what = Repeat(posted, prepared, wanted.process.user.uid)
                ordered = self._order(ushers, what, wanted.stdio)
            if ordered is not None:
                made = yield from self._by_usher(ushers, ordered, wanted)
                if made is not None:
                    return made
        return (
            yield from exec_process(
                state, prepared, wanted.process.user.uid, stdio=wanted.stdio, executor=executor,
                sink=self._sink, options=with_owned(wanted.options, wanted.stdio, wanted.process),
                meanwhile=wanted.meanwhile, ignore_paused=ignore_paused,
            )
        )  # fmt: skip

    def _prepare(
        self, state: states.State, spec: Spec, groups: dict[str, str], wanted: Wanted, host: Host
    ) -> Prepared:
        """The plan and programs of one process in one container, made when it is first run."""
        process = wanted.process
        options = with_owned(wanted.options, wanted.stdio, process)
        place = (state.id, state.pid, state.pid_start, *groups.items(), wanted.rows, wanted.columns,
                 options)  # fmt: skip
        # looked at one after the other: they are few, and a hash of it all costs more than that
        for one in self._known:
            if one.place == place and one.process == process and one.spec == spec:
                return one.prepared
        del self._known[: 1 - KEPT_EXECS]
        plan = make_exec_plan(
            spec, process, id=state.id, bundle=state.bundle, host=host, cgroups=groups,
            rows=wanted.rows, columns=wanted.columns, compile_seccomp=self._compile_seccomp,
            options=options,
        )  # fmt: skip
        found = Prepared(plan)
        self._known.append(_Exec(place, process, spec, found))
        return found

    def order(self, what: Repeat, stdio: Stdio) -> Ordered | None:
        """Begin to execute again what was executed before, with other streams of the same kinds and
        owners: `exec` it then. None if that cannot be begun like this now; then nothing was done."""
        ushers, known = self._ushers, what.known
        if ushers is None or ushers.free(known.state.id) is not known:
            return None
        return self._order(ushers, what, stdio)

    def _order(self, ushers: Ushers, what: Repeat, stdio: Stdio) -> Ordered | None:
        """An order; None if the usher has gone, or the container is another, and that is dismissed. What
        takes time to look at is looked at while the process sets itself up, and waits for that."""
        try:
            ordered = order(what, stdio)
        except OSError as gone:
            ushers.failed(what.known, gone.errno or 0)
            return None
        if what.known.same():
            let_go(ordered)
            return ordered
        ushers.dismiss(what.known.state.id)
        take_back(ordered)
        return None

    def _by_usher(
        self, ushers: Ushers, ordered: Ordered, wanted: Wanted
    ) -> Steps[ExecProcess | None]:
        """The process, if the usher can make it; else that one is dismissed."""
        made = yield from exec_by_usher(
            ordered, sink=self._sink, meanwhile=wanted.meanwhile, begun=wanted.begun
        )
        if isinstance(made, int):
            ushers.failed(ordered.what.known, made)
            return None
        return made

    def _post(
        self, ushers: Ushers, state: states.State, groups: dict[str, str], prepared: Prepared,
        executor: Executor,
    ) -> Known | None:  # fmt: skip
        """An usher for a container; None if there can be none: the long way will tell why."""
        values = {"id": state.id, "init": str(state.pid)}
        try:
            with ExitStack() as held:
                opened = open_groups(prepared, values, executor, self._sink, held)
                path = states.directory(self._root, state.id)
                return ushers.post(path, state, groups, prepared, executor, opened)
        except (MobyshellError, OSError):
            return None

    def forget(self, id: str) -> None:
        """The container is gone."""
        self._known = [one for one in self._known if one.place[0] != id]
        if self._ushers is not None:
            self._ushers.forget(id)

    def leave(self, id: str) -> None:
        """Dismiss the container's usher."""
        if self._ushers is not None:
            self._ushers.dismiss(id)

    def rest(self, seconds: float) -> bool:
        """Dismiss the ushers without work for so long; whether there are any left."""
        return self._ushers is not None and self._ushers.rest(seconds)
