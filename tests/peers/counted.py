"""The same cgroup, told by containerd and by us: for cgroup v1 and, in the virtual machine, for v2."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from mobyshell.moby.metrics.containers import samples
from tests.peers.engines import Engine, group_of
from tests.peers.images import NAME

CONTROLLERS = ("cpu", "cpuacct", "memory", "pids", "blkio")
_STEADY = {"memory_usage_limit_bytes", "pids_limit", "memory_oom_total"}
_WRITES = "dd if=/dev/zero of=/x bs=64k count=32 2>/dev/null; sync; exec sleep 1000"
_SERIES = tuple[str, tuple[tuple[str, str], ...]]


def compare(ctr: Engine, metrics: str) -> None:
    """Run a task in containerd; each of its series there has a namesake of ours, with the same labels."""
    ctr.ok("run", "-d", "--memory-limit", str(64 << 20), NAME, "counted", "sh", "-c", _WRITES)
    rows = [line.split() for line in ctr.ok("task", "ls").splitlines()[1:]]
    pid = next(int(row[1]) for row in rows if row[0] == "counted")
    theirs = _theirs(metrics, ctr.group)
    paths = {one: str(group_of(pid, one)) for one in CONTROLLERS}
    if len(set(paths.values())) == 1:
        paths = {"": paths["memory"]}
    ours = {(one.name, tuple(sorted(one.labels.items()))): one.value for one in samples(paths)}
    assert set(theirs) - set(ours) == set()
    for series, value in theirs.items():
        if series[0] in _STEADY:
            assert float(ours[series]) == value, (series, ours[series], value)
    assert (
        any(name.startswith(("blkio_", "io_")) for name, _ in theirs)
        or not Path("/sys/block/vda").exists()
    )


def _theirs(url: str, namespace: str) -> dict[_SERIES, float]:
    """The series of the task, once they are there: without the labels that all have."""
    until = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(url, timeout=30) as answer:
            page = answer.read().decode()
        found = {}
        for family in text_string_to_metric_families(page):
            for one in family.samples:
                labels = dict(one.labels)
                mine = labels.pop("container_id", ""), labels.pop("namespace", "")
                if mine == ("counted", namespace) and one.name.startswith("container_"):
                    assert labels.pop("runtime") == "io.containerd.runc.v2"
                    name = one.name.removeprefix("container_")
                    found[name, tuple(sorted(labels.items()))] = one.value
        if "pids_current" in {name for name, _ in found}:
            return found
        assert time.monotonic() < until, page
        time.sleep(0.2)
