"""`bench run` of a job, in the manner of bucketbench; but engines take turns.

Owns the order and the report. How an engine does something is `drivers`'s, the doing `hand`'s.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from mobyshell.bench.crew import Crew, Hand
from mobyshell.bench.drivers import Content, Driver, driver
from mobyshell.bench.job import EngineJob, Job
from mobyshell.bench.tally import Line, tally
from mobyshell.bench.workshop import Workshop, workshop
from mobyshell.core.errors import MobyshellError


@dataclass(frozen=True, slots=True)
class Run:
    """One engine with one number of workers."""

    engine: str
    threads: int
    lines: tuple[Line, ...]


@dataclass(slots=True)
class Report:
    """What came out: `failures` counts (engine, operation, reason)."""

    runs: list[Run] = field(default_factory=list)
    failures: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    load: float = 0.0
    """How much else the machine had to do when it began: the load average of a minute."""


def run_job(job: Job, say: Callable[[str], object]) -> Report:
    """Run all of it. Engines that are not there are named in the report. Root only."""
    report = Report(load=os.getloadavg()[0])
    with workshop() as shop, ExitStack() as stack:
        rootfs = "" if job.rootfs == "busybox" else os.path.abspath(job.rootfs)
        bundle = shop.with_args("job", *job.command, rootfs=rootfs)
        content = Content(str(bundle), rootfs or str(shop.bundle / "rootfs"), job.command)
        sides = []
        for part in job.engines:
            try:
                ready = stack.enter_context(driver(part.engine, shop, content))
                sides.append(_Side(part, ready))
            except MobyshellError as error:
                report.missing.append(f"{part.engine}: {error}")
        for threads in sorted({number for side in sides for number in side.part.threads}):
            _take_turns(shop, content, job, sides, threads, say)
        for side in sides:
            _account(report, job, side)
    return report


TURNS = 3
"""So often an engine's turn comes: a share of its containers each time, so that what else the machine
does is nobody's advantage."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One engine, and what it did in each of its turns, by the number of workers."""

    part: EngineJob
    ready: Driver
    turns: dict[int, list[list[Hand]]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def _take_turns(
    shop: Workshop, content: Content, job: Job, sides: list[_Side], threads: int,
    say: Callable[[str], object],
) -> None:  # fmt: skip
    order = [side for side in sides if threads in side.part.threads]
    mix = random.Random(threads).shuffle
    for turn in range(TURNS):
        mix(order)
        for side in order:
            part = side.part
            share = part.containers * (turn + 1) // TURNS - part.containers * turn // TURNS
            if not share or side.lost:
                continue
            say(f"{part.engine}: {threads} × {share} containers")
            try:
                hands = _hands(shop, side.ready, content, job, share, threads)
                side.turns.setdefault(threads, []).append(hands)
            except MobyshellError as error:
                side.lost.append(str(error))


def _hands(
    shop: Workshop, ready: Driver, content: Content, job: Job, containers: int, threads: int
) -> list[Hand]:
    common = {
        "engine": ready.name, "commands": dict(ready.commands), "remove": ready.remove,
        "signals": ready.signals, "without": ready.without,
        "environment": dict(ready.environment), "state": ready.state, "bundle": content.bundle,
        "directory": str(shop.directory), "containers": containers,
        "operations": job.operations,
    }  # fmt: skip
    jobs = [{**common, "prefix": f"bench{os.getpid()}t{number}"} for number in range(threads)]
    with Crew("mobyshell.bench.hand", jobs) as crew:
        return crew.run()


def _account(report: Report, job: Job, side: _Side) -> None:
    report.missing += [f"{side.part.engine}: {error}" for error in side.lost]
    for threads, turns in side.turns.items():
        lines = tuple(tally(turns, job.operations))
        report.runs.append(Run(side.part.engine, threads, lines))
        for hand in (hand for hands in turns for hand in hands):
            for (operation, reason), count in hand.errors.items():
                report.failures[side.part.engine, operation, reason] += count
