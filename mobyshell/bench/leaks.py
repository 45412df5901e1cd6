"""What a stressed engine may not leave behind: looked for from outside, by the names it used.

Each leak is a sentence. Owns the looking only; nothing is repaired.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from glob import iglob
from pathlib import Path

from mobyshell.bench.places import processes
from mobyshell.core.errors import NotFound
from mobyshell.core.linux import procfs
from mobyshell.core.store.check import check_store
from mobyshell.core.store.store import Store
from mobyshell.core.tasks.client import TaskClient


def leaks(
    place: Path, root: Path, state: Path, namespace: str, prefix: str, patience: float = 60.0
) -> Iterator[str]:  # fmt: skip
    """What is left of containers whose ids begin with `prefix`, when all of them were deleted.

    `place` is the directory that all files are below; keeper and shim have `patience` to leave.
    """
    with TaskClient(state, namespace) as tasks:
        yield from (f"task {one.id} is {one.status}" for one in tasks.ls())
    yield from _processes(place, prefix, patience)
    yield from _mounts(place)
    yield from _cgroups(prefix)
    yield from _files(state, namespace)
    yield from _store(root, namespace)


def _processes(place: Path, prefix: str, patience: float) -> Iterator[str]:
    """Of containers at once; of keeper and shim after they have had time to leave."""
    deadline = time.monotonic() + patience
    while found := [pid for pid in processes(str(place)) if pid != os.getpid()]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    for pid in {*found, *_in_groups(prefix)}:
        try:
            words = " ".join(procfs.command_line(pid))
        except NotFound:
            continue  # it has just ended
        yield f"process {pid} ({words[:100]}) still runs"


def _in_groups(prefix: str) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                groups = Path(f"/proc/{name}/cgroup").read_text()
            except OSError:
                continue
            if prefix in groups:
                yield int(name)


def _mounts(place: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if str(place) in line:
            yield f"{line.split()[4]} is mounted"


def _cgroups(prefix: str) -> Iterator[str]:
    for path in iglob("/sys/fs/cgroup/**/", recursive=True):
        if prefix in path.rstrip("/").rpartition("/")[2]:
            yield f"the cgroup {path} is there"


def _files(state: Path, namespace: str) -> Iterator[str]:
    for where in (namespace, ".making", ".networks"):
        if (state / where).is_dir():
            for name in os.listdir(state / where):
                if (state / where / name).is_dir():
                    yield f"{where}/{name} is there, below the state root"


def _store(root: Path, namespace: str) -> Iterator[str]:
    """Sound, and empty once its images are gone as well."""
    with Store.open(root) as store:
        for one in check_store(store):
            yield f"store: {one.kind} {one.subject}: {one.problem}"
        space = store.namespace(namespace)
        yield from (f"store: container {one.id} is there" for one in space.containers.list())
        yield from (f"store: lease {one.id} is there" for one in space.leases.list())
        for image in space.images.list():
            space.images.delete(image.name)
        store.collect()
        yield from (f"store: blob {one.digest} stays, of no image" for one in space.content.walk())
        with store.database.read() as sql:
            for kept in ("snapshots", "trees"):
                ((count,),) = sql.execute(f"SELECT count(*) FROM {kept}").fetchall()
                if count:
                    yield f"store: {count} of {kept} stay, of no image and no container"
