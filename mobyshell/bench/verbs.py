"""What an engine asks of a runtime for each container, verb by verb, in a bundle never seen.

containerd and podman make a new bundle for every container: nothing that a runtime remembers of
one bundle helps it there.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from itertools import count
from pathlib import Path

from mobyshell.bench.contest import Result, Series
from mobyshell.bench.peers import Peer
from mobyshell.bench.workshop import Workshop
from mobyshell.core.errors import MobyshellError, TimedOut
from mobyshell.core.linux import cgroups

VERBS = ("create", "start", "state", "kill", "delete")
TOGETHER = "together"
TITLES = {
    "create": "create, of a bundle never seen",
    TOGETHER: f"{', '.join(VERBS)}, of a bundle never seen, together",
}
_PATIENCE_MS = 10_000


def compare_verbs(
    shop: Workshop, runtimes: list[Peer], rounds: int, missing: list[str]
) -> dict[str, Result]:
    """For each verb, and all of them together, the times of those runtimes that can do all of them,
    in `rounds` turns."""
    numbers = count()
    able = []
    times: dict[str, dict[str, list[int]]] = {verb: {} for verb in (*VERBS, TOGETHER)}
    mix = random.Random(0).shuffle
    with _namespace(shop) as level:
        for peer in runtimes:
            try:
                for _ in range(3):
                    _life(shop, peer, level, next(numbers))
            except MobyshellError as error:
                missing.append(f"{peer.name}, verb by verb: {error}")
            else:
                able.append(peer)
        for _ in range(rounds):
            order = list(able)
            mix(order)
            for peer in order:
                for verb, spent in _life(shop, peer, level, next(numbers)).items():
                    times[verb].setdefault(peer.name, []).append(spent)
    return {
        verb: Result(tuple(Series(peer.name, tuple(times[verb][peer.name])) for peer in able))
        for verb in times
    }


@contextmanager
def _namespace(shop: Workshop) -> Iterator[str]:
    """A level of cgroups with a container in it, as an engine's namespace is; its cgroupsPath."""
    level = f"/{shop.directory.name}"
    bundle = _bundle(shop, level, "resident")
    shop.tasks.create("resident", str(bundle))
    try:
        yield level
    finally:
        shop.tasks.delete("resident", force=True)
        shutil.rmtree(bundle)
        cgroups.remove_empty([*glob(f"/sys/fs/cgroup/*{level}"), f"/sys/fs/cgroup{level}"])


def _bundle(shop: Workshop, level: str, id: str) -> Path:
    """A bundle as an engine writes one for each container: its names are in it."""
    bundle = shop.with_args(f"bundle-{id}", "/bin/sleep", "100000")
    document = json.loads((bundle / "config.json").read_text())
    document["hostname"] = id
    document["linux"]["cgroupsPath"] = f"{level}/{id}"
    document["annotations"] = {"org.example.name": id}
    (bundle / "config.json").write_text(json.dumps(document))
    return bundle


def _life(shop: Workshop, peer: Peer, level: str, number: int) -> dict[str, int]:
    """One container from create to delete; the nanoseconds of each verb."""
    id = f"v{number}"
    bundle = _bundle(shop, level, id)
    pid_file = bundle / "pid"
    spent: dict[str, int] = {}
    try:
        spent["create"] = peer(
            "create", "--bundle", str(bundle), "--pid-file", str(pid_file), id
        )  # fmt: skip
        held = os.pidfd_open(int(pid_file.read_text()))
        try:
            spent["start"] = peer("start", id)
            spent["state"] = peer("state", id)
            spent["kill"] = peer("kill", id, "KILL")
            poller = select.poll()
            poller.register(held, select.POLLIN)
            if not poller.poll(_PATIENCE_MS):
                raise TimedOut(f"{peer.name}: {id} did not end")
        finally:
            os.close(held)
        spent["delete"] = peer("delete", id)
        spent[TOGETHER] = sum(spent.values())
    except MobyshellError:
        if "create" in spent:
            peer("delete", "--force", id)
        raise
    finally:
        shutil.rmtree(bundle)
    return spent
