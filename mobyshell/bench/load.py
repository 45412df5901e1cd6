"""`bench run` of a job: engine after engine, each with its numbers of workers, in the manner of
bucketbench.

Owns the order and the report. How an engine does something is `drivers`'s, the doing `hand`'s.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
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
    with workshop() as shop:
        rootfs = "" if job.rootfs == "busybox" else os.path.abspath(job.rootfs)
        bundle = shop.with_args("job", *job.command, rootfs=rootfs)
        content = Content(str(bundle), rootfs or str(shop.bundle / "rootfs"), job.command)
        for part in job.engines:
            try:
                with driver(part.engine, shop, content) as ready:
                    for threads in part.threads:
                        say(f"{part.engine}: {threads} × {part.containers} containers")
                        hands = _hands(shop, ready, content, job, part, threads)
                        _account(report, job, part.engine, threads, hands)
            except MobyshellError as error:
                report.missing.append(f"{part.engine}: {error}")
    return report


def _hands(
    shop: Workshop, ready: Driver, content: Content, job: Job, part: EngineJob, threads: int
) -> list[Hand]:
    common = {
        "engine": ready.name, "commands": dict(ready.commands), "remove": ready.remove,
        "signals": ready.signals, "without": ready.without,
        "environment": dict(ready.environment), "state": ready.state, "bundle": content.bundle,
        "directory": str(shop.directory), "containers": part.containers,
        "operations": job.operations,
    }  # fmt: skip
    jobs = [{**common, "prefix": f"bench{os.getpid()}t{number}"} for number in range(threads)]
    with Crew("mobyshell.bench.hand", jobs) as crew:
        return crew.run()


def _account(report: Report, job: Job, engine: str, threads: int, hands: list[Hand]) -> None:
    report.runs.append(Run(engine, threads, tuple(tally(hands, job.operations))))
    for hand in hands:
        for (operation, reason), count in hand.errors.items():
            report.failures[engine, operation, reason] += count
