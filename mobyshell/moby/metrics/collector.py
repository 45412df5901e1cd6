"""Everything that is measured, asked anew for each scrape, by Prometheus' own client library.

container_…{container_id, namespace, runtime}    by containerd's names
mobyshell_store_…{namespace}             images, containers, content, snapshots
mobyshell_shim_…, mobyshell_tasks        the shim of the state root
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from mobyshell import __version__
from mobyshell.core.errors import MobyshellError
from mobyshell.core.runtime import state as states
from mobyshell.core.store.store import Store
from mobyshell.core.tasks.connect import dial
from mobyshell.core.tasks.view import list_tasks, namespaces
from mobyshell.moby.metrics.containers import samples

_OWN = ("container_id", "namespace", "runtime")


class Everything(Collector):
    """The containers below a state root, and a store. A scrape never fails because one of them has
    just ended: it is left out."""

    def __init__(self, root: Path, state: str) -> None:
        self._root, self._state = root, state

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("mobyshell_build", "What answers", {"version": __version__})
        yield from self._containers()
        yield from self._tasks()
        yield from self._store()

    def _containers(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        labels_of: dict[str, tuple[str, ...]] = {}
        for namespace in namespaces(self._state):
            for task in list_tasks(self._state, namespace):
                try:
                    paths = states.read(Path(self._state) / namespace, task.id).cgroups
                except MobyshellError:
                    continue
                for one in samples(paths):
                    name = f"container_{one.name}"
                    if name not in families:
                        labels_of[name] = (*_OWN, *one.labels)
                        families[name] = GaugeMetricFamily(name, one.help, labels=labels_of[name])
                    values = [task.id, namespace, task.runtime, *(one.labels.get(key, "")
                                                    for key in labels_of[name][len(_OWN):])]  # fmt: skip
                    families[name].add_metric(values, one.value)
        yield from families.values()

    def _tasks(self) -> Iterator[Metric]:
        counts = GaugeMetricFamily("mobyshell_tasks", "Tasks by what they are doing",
                                   labels=("namespace", "status"))  # fmt: skip
        for namespace in namespaces(self._state):
            by_status: dict[str, int] = {}
            for task in list_tasks(self._state, namespace):
                by_status[str(task.status)] = by_status.get(str(task.status), 0) + 1
            for status, count in by_status.items():
                counts.add_metric([namespace, status], count)
        yield counts
        pid = self._shim()
        up = GaugeMetricFamily("mobyshell_shim_up", "Whether the shim runs: it comes when needed")
        up.add_metric([], bool(pid))
        yield up
        if pid:
            memory = GaugeMetricFamily("mobyshell_shim_resident_bytes", "Memory of the shim")
            memory.add_metric([], _resident(pid))
            yield memory

    def _shim(self) -> int:
        try:
            connection = dial(self._state)
        except (MobyshellError, OSError):
            return 0
        if connection is None:
            return 0
        try:
            return connection.shim_pid
        finally:
            connection.close()

    def _store(self) -> Iterator[Metric]:
        if not (self._root / "meta.db").exists():
            return  # to look at metrics makes no store
        names = ("images", "containers", "content", "snapshots", "leases")
        families = {
            name: GaugeMetricFamily(f"mobyshell_store_{name}", f"How many {name}", labels=("namespace",))
            for name in names
        }  # fmt: skip
        shared = GaugeMetricFamily("mobyshell_store_blobs", "Blobs on the disk, of all namespaces")
        size = GaugeMetricFamily("mobyshell_store_blob_bytes", "Bytes of blobs on the disk")
        with Store.open(self._root) as store, store.database.read() as sql:
            for name, family in families.items():
                rows = sql.execute(f"SELECT namespace, count(*) FROM {name} GROUP BY namespace")
                for namespace, count in rows:
                    family.add_metric([namespace], count)
            count, total = sql.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM blobs"
            ).fetchone()
        shared.add_metric([], count)
        size.add_metric([], total)
        yield from families.values()
        yield shared
        yield size


def _resident(pid: int) -> int:
    """Bytes; 0 once it is gone."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
