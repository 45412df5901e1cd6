"""The comparison: everything on this machine that starts a container, doing the same in turns.

The contests: a container's whole life, one more process in a running container, the verbs that an
engine calls one by one, and a batch of containers from one process. A contestant that is not
installed, or fails, is named with its reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from mobyshell.bench.contest import Contestant, Result, alternate, in_a_row
from mobyshell.bench.embedded import EMBEDDED, executing, living
from mobyshell.bench.peers import OURS, Peer, peers
from mobyshell.bench.start import LIBRARY, add, contestants
from mobyshell.bench.verbs import TITLES, compare_verbs
from mobyshell.bench.workshop import Workshop, workshop
from mobyshell.bench.yardstick import yardstick
from mobyshell.core.errors import MobyshellError

Say = Callable[[str], None]
Goals = tuple[tuple[str, str, float | None], ...]
_TOGETHER, _ROW = 3, 5
_REST = 0.1
"""Seconds until the machine has forgotten what ran last: several grace periods of RCU."""
_AT_REST = (
    f"Before each the machine rests for {_REST * 1000:.0f} ms. Who moves a process into a cgroup by "
    "writing to cgroup.procs, as runc and crun do, waits for a grace period of RCU then (cgroup.c, "
    "threadgroup_rwsem; 6 to 17 ms here), and whoever does so soon after does not: without the rest a "
    "contestant's time would be that of who ran before it."
)
_IN_A_ROW = (
    "Each does it once more than is counted, and the rest at once thereafter: the time of one. runc and "
    "crun pay for the grace period only at first here, and ours has less time to make the next network "
    "namespace ahead."
)
OVERLAPPED = f"{LIBRARY}, {_TOGETHER} at a time"


@dataclass(frozen=True, slots=True)
class Contest:
    """One table: what was done, by whom, how long it took; `goals` are (contestant, peer, ratio),
    without a ratio where nothing was set. `note`: what one must know to read it."""

    title: str
    result: Result
    goals: Goals = ()
    note: str = ""


@dataclass(slots=True)
class Comparison:
    """All contests, and who could not take part, or is treated specially."""

    contests: list[Contest] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def compare(rounds: int, batch: int, say: Say) -> Comparison:
    """Run the contests: `rounds` turns of each, batches of `batch` containers. Root only."""
    done = Comparison()
    with workshop() as shop:
        bundle = shop.with_args("true", "/bin/true")
        runners, done.missing = contestants(shop, bundle)
        _yardstick(shop, bundle, runners, done.missing)
        with living(shop, bundle) as live:
            runners.insert(1, Contestant(EMBEDDED, live))
            _both_ways(
                done, "create, start, wait and delete of /bin/true", runners, rounds, say,
                ((LIBRARY, "crun run", 0.4), (LIBRARY, "the plan in C", 1.2),
                 (EMBEDDED, "the plan in C", None), (LIBRARY, "runc run", 0.6),
                 (f"{OURS} run", "runc run", 0.6)),
            )  # fmt: skip
        runtimes = peers(shop)[0]
        with _execs(shop, runtimes, done.missing) as executors:
            _both_ways(
                done, "exec of /bin/true", executors, rounds, say,
                ((EMBEDDED, "crun exec", 0.2), (LIBRARY, "crun exec", 0.2),
                 (f"{OURS} exec", "runc exec", 0.6)),
            )  # fmt: skip
        say(f"verb by verb, a new bundle each time, {rounds} rounds")
        for verb, result in compare_verbs(shop, runtimes, rounds, done.missing).items():
            pairs = ((OURS, "runc", None), (OURS, "crun", None))
            done.contests.append(Contest(TITLES.get(verb, verb), result, pairs))
        say(f"batches of {batch} containers")
        done.contests.append(
            Contest(
                f"{batch} containers started and left running",
                alternate(_batches(shop, runtimes, batch, done.missing), 3, warm_up=0),
                ((LIBRARY, "crun run -d", 0.5), (OVERLAPPED, "crun run -d", None)),
            )
        )  # fmt: skip
        done.missing.append(
            f"All start one container after the other but {OVERLAPPED}: there as many threads use one "
            "client, and the next container is made while the last sets itself up."
        )
    return done


def _both_ways(
    done: Comparison, title: str, runners: list[Contestant], rounds: int, say: Say, goals: Goals
) -> None:
    """Two contests: of who begins on a machine at rest, and of who has done the same just before."""
    say(f"{title}, {rounds} rounds at rest")
    at_rest = alternate(runners, rounds, warm_up=3, rest=lambda: time.sleep(_REST))
    done.contests.append(Contest(title, at_rest, goals, _AT_REST))
    say(f"{title}, {rounds} rounds of {_ROW} in a row")
    repeated = [in_a_row(one, _ROW) for one in runners]
    hot = alternate(repeated, rounds, warm_up=1)
    pairs = tuple((ours, peer, None) for ours, peer, _ in goals)
    done.contests.append(Contest(f"{title}, {_ROW} in a row", hot, pairs, _IN_A_ROW))


def _yardstick(
    shop: Workshop, bundle: Path, found: list[Contestant], missing: list[str]
) -> None:  # fmt: skip
    try:
        add(found, missing, "the plan in C", yardstick(shop, bundle))
    except MobyshellError as error:
        missing.append(f"the plan in C: {error}")


@contextmanager
def _execs(
    shop: Workshop, runtimes: list[Peer], missing: list[str]
) -> Iterator[list[Contestant]]:  # fmt: skip
    """Those who can start a process in a container, each with one of its own."""
    bundle = shop.with_args("idle", "/bin/sleep", "100000")
    numbers = count()
    shop.tasks.create("idle", str(bundle))
    shop.tasks.start("idle")

    def ours() -> None:
        name = f"e{next(numbers)}"
        shop.tasks.exec("idle", ["/bin/true"], exec_id=name)
        shop.tasks.wait("idle", exec_id=name, timeout=30)

    found, begun = [Contestant(LIBRARY, ours)], []
    embedded = ExitStack()
    try:
        execute = embedded.enter_context(executing(shop, bundle, ["/bin/true"]))
        found.append(Contestant(EMBEDDED, execute))
        for peer in runtimes:
            try:
                peer("run", "-d", "--bundle", str(bundle), "idle")
            except MobyshellError as error:
                missing.append(f"{peer.name} exec: {error}")
                continue
            begun.append(peer)
            add(found, missing, f"{peer.name} exec", partial(peer, "exec", "idle", "/bin/true"))
        yield found
    finally:
        embedded.close()
        shop.tasks.delete("idle", force=True)
        for peer in begun:
            peer("delete", "--force", "idle")


def _batches(
    shop: Workshop, runtimes: list[Peer], batch: int, missing: list[str]
) -> list[Contestant]:  # fmt: skip
    """Those who can start many. Only the starting is timed."""
    bundle = str(shop.with_args("many", "/bin/sleep", "100000"))
    ids = [f"m{index}" for index in range(batch)]

    def begin(id: str) -> None:
        shop.tasks.create(id, bundle)
        shop.tasks.start(id)

    def ours(threads: int) -> int:
        with ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter_ns()
            try:
                for _ in pool.map(begin, ids) if threads > 1 else map(begin, ids):
                    pass
                return time.perf_counter_ns() - start
            finally:
                pool.shutdown()
                for id in ids:
                    shop.tasks.delete(id, force=True)

    def theirs(peer: Peer, ids: list[str]) -> int:
        try:
            return sum(peer("run", "-d", "--bundle", bundle, id) for id in ids)
        finally:
            for id in ids:
                peer("delete", "--force", id)

    found = [
        Contestant(LIBRARY, partial(ours, 1)), Contestant(OVERLAPPED, partial(ours, _TOGETHER)),
    ]  # fmt: skip
    for peer in runtimes:
        try:
            theirs(peer, ids[:1])
        except MobyshellError as error:
            missing.append(f"{peer.name} run -d: {error}")
        else:
            found.append(Contestant(f"{peer.name} run -d", partial(theirs, peer, ids)))
    return found


def write(directory: Path, comparison: Comparison) -> None:
    """The table and the plot, as compare.md and compare.svg in `directory`."""
    from mobyshell.bench.plot import page, plot

    (directory / "compare.svg").write_text(plot(comparison.contests))
    (directory / "compare.md").write_text(page(comparison.contests, comparison.missing))
