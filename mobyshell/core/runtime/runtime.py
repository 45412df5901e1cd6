"""The runtime's face: a root directory, and a method per verb.

Owns what outlives a single call: the description of the host, and the programs of containers
that are created but not started.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

from mobyshell.core.clock import Clock, SystemClock
from mobyshell.core.events import EventSink, discard
from mobyshell.core.oci import Spec, load_spec
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.create import Container, Stdio, Waiting, create
from mobyshell.core.runtime.executor import Executor, PortableExecutor
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.plan import Plan
from mobyshell.core.runtime.planner import make_plan
from mobyshell.core.runtime.start import start
from mobyshell.core.runtime.steps import Steps


class Runtime:
    """Containers below `root`. Must live in a process with one thread."""

    def __init__(
        self,
        root: Path,
        *,
        sink: EventSink = discard,
        clock: Clock | None = None,
        executor: Executor | None = None,
        host: Host | None = None,
    ) -> None:
        self.root = Path(root)
        self.sink = sink
        self.clock = clock or SystemClock()
        self.executor = executor or PortableExecutor()
        self._host = host
        self._waiting: dict[str, Waiting] = {}

    @property
    def host(self) -> Host:
        """The machine, looked at once."""
        if self._host is None:
            self._host = Host.detect()
        return self._host

    def plan(
        self, id: str, bundle: str, *, spec: Spec | None = None, rows: int = 0, columns: int = 0
    ) -> Plan:
        """The plan that `create` would execute."""
        return make_plan(
            spec or load_spec(bundle), bundle=bundle, id=id, host=self.host, rows=rows,
            columns=columns, cgroup=f"mobyshell-{self._family()}-{id}",
        )  # fmt: skip

    def _family(self) -> str:
        """What tells equal ids of different roots apart in the tree of cgroups."""
        if self.root.parent.name == "mobyshell":
            return self.root.name
        return f"{crc32(bytes(self.root)):08x}"

    def create(
        self,
        id: str,
        bundle: str,
        *,
        stdio: Stdio,
        spec: Spec | None = None,
        rows: int = 0,
        columns: int = 0,
    ) -> Steps[Container]:
        """Make container `id` from `bundle` (with `spec` instead of its config.json, if given)."""
        spec = spec or load_spec(bundle)
        plan = self.plan(id, bundle, spec=spec, rows=rows, columns=columns)
        return create(
            self.root, plan, spec, stdio=stdio, executor=self.executor, sink=self.sink,
            clock=self.clock, keep=self._keep,
        )  # fmt: skip

    def _keep(self, id: str, waiting: Waiting) -> None:
        self._drop(id)
        self._waiting[id] = waiting

    def _drop(self, id: str) -> None:
        waiting = self._waiting.pop(id, None)
        if waiting is not None:
            waiting.program.close()

    def start(self, id: str) -> Steps[states.State]:
        """Start a created container."""
        spec = load_spec(states.directory(self.root, id))
        try:
            waiting = self._waiting.get(id)
            return (
                yield from start(
                    self.root, id, spec, waiting, sink=self.sink, clock=self.clock
                )
            )  # fmt: skip
        finally:
            self._drop(id)
