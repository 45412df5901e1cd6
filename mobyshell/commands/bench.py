"""`bench`: measuring against runc and others, on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.commands.registry import (
    FILE,
    NUMBER,
    READ,
    TEXT,
    option,
    optional,
    verb,
)
from mobyshell.commands.results import Rows
from mobyshell.core.errors import Unsupported, UsageError

if TYPE_CHECKING:
    from mobyshell.bench.run import Bench
    from mobyshell.commands.context import Context


@verb(
    "bench", "run",
    optional("job", FILE, "what to measure instead: engines, threads, operations (docs/bench-run.md)"),
    option("-n --rounds", "how many starts of each contestant", NUMBER, default=60),
    option("--tasks", "how many tasks at once", NUMBER, default=100),
    option("--engine", "instead of a file: an engine to measure (all)", TEXT, many=True),
    option("--operation", "what to do with each container, in order (run stop delete)", TEXT,
           many=True),
    option("--threads", "workers at once; several numbers are several runs (1)", NUMBER, many=True),
    option("--containers", "containers of each worker (10)", NUMBER),
    option("--write", "write the page to this file, too", FILE),
    effect=READ, example="bench run -n 2 --tasks 2",
)  # fmt: skip
def run(
    ctx: Context, *, job: str | None, rounds: int, tasks: int, engine: tuple[str, ...],
    operation: tuple[str, ...], threads: tuple[int, ...], containers: int | None,
    write: str | None,
) -> Rows:  # fmt: skip
    """Measure mobyshell against runc, crun, bubblewrap and containerd, taking turns in one run.

    With a job or its options it is done in the manner of bucketbench: so many containers by each of
    so many workers at once, these operations, the engines taking turns: library, mobyshell,
    mobyshell-runc, runc, crun, ctr (with a containerd of its own), podman.
    """
    from mobyshell.bench.run import page, run_all
    from mobyshell.commands.bench_load import measure

    check(rounds, tasks, write)
    if job is not None or engine or operation or threads or containers is not None:
        return measure(ctx, job, engine, operation, threads, containers, write)
    bench = run_all(rounds, tasks, ctx.say)
    if write is not None:
        peers = ("runc", "crun", "bwrap", "containerd")
        Path(write).write_text(page(bench, "Bench", "bench run --write docs/bench.md", peers))
    return _table(bench)


@verb(
    "bench", "images",
    option("-n --rounds", "how many turns of each, and ten times as many of `run`", NUMBER, default=5),
    option("--percent", "how large the images are, of what they should be", NUMBER, default=100),
    option("--write", "write the page to this file, too", FILE),
    effect=READ, example="bench images -n 1 --percent 1",
)  # fmt: skip
def images(ctx: Context, *, rounds: int, percent: int, write: str | None) -> Rows:
    """Import, pull and run images beside containerd, taking turns, on a file system of their own."""
    from mobyshell.bench.images import measure_all
    from mobyshell.bench.run import page

    check(rounds, percent, write)
    bench = measure_all(rounds, percent / 100, ctx.say)
    if write is not None:
        command = "bench images --write docs/bench-images.md"
        Path(write).write_text(page(bench, "Images", command, ("containerd",)))
    return _table(bench)


@verb(
    "bench", "memory",
    option("--tasks", "how many tasks at once", NUMBER, default=50),
    option("--write", "write the page to this file, too", FILE),
    effect=READ, example="bench memory --tasks 2",
)  # fmt: skip
def memory(ctx: Context, *, tasks: int, write: str | None) -> Rows:
    """Measure resident memory, idle and per running task, beside containerd and its shims."""
    from mobyshell.bench.memory import NOTE, measure_memory
    from mobyshell.bench.run import page

    check(1, tasks, write)
    if tasks < 2:
        raise UsageError("bench memory: two tasks or more")
    bench = measure_memory(tasks, ctx.say)
    if write is not None:
        command = f"bench memory --tasks {tasks} --write docs/bench-memory.md"
        text = page(bench, "Memory", command, ("containerd",), NOTE)
        Path(write).write_text(text)
    return _table(bench)


@verb(
    "bench", "compare",
    option("-n --rounds", "how many turns of each contestant", NUMBER, default=60),
    option("--batch", "how many containers at once", NUMBER, default=200),
    option("--write", "write compare.md and compare.svg into this directory, too", FILE),
    effect=READ, example="bench compare -n 1 --batch 1",
)  # fmt: skip
def compare(ctx: Context, *, rounds: int, batch: int, write: str | None) -> Rows:
    """Let the library, mobyshell-runc, runc, crun, bubblewrap and the plan in C take turns."""
    from mobyshell.bench import compare as contests

    check(rounds, batch)
    if write is not None and not os.path.isdir(write):
        raise UsageError(f"{write} is not a directory")
    found = contests.compare(rounds, batch, ctx.say)
    if write is not None:
        contests.write(Path(write), found)
    columns = (("contest", "CONTEST", "text"), ("name", "CONTESTANT", "id"),
               ("median", "MEDIAN", "text"), ("low", "QUARTILE", "text"),
               ("high", "QUARTILE", "text"), ("best", "BEST", "text"))  # fmt: skip
    rows = [
        {"contest": contest.title, "name": one.name, "median": round(one.median / 1e6, 2),
         "low": round(one.quartiles[0] / 1e6, 2), "high": round(one.quartiles[1] / 1e6, 2),
         "best": round(one.best / 1e6, 2)}
        for contest in found.contests
        for one in contest.result.series
    ]  # fmt: skip
    said = "\n".join(f"not there: {line}" for line in found.missing)
    return Rows(columns, rows, "name", said)


def check(rounds: int, number: int, write: str | None = None) -> None:
    """Refuse what cannot be, before anything is measured: minutes later is late to learn it."""
    if os.geteuid() != 0:
        raise Unsupported("bench compares with others as root", hint="run it as root")
    if not 1 <= rounds <= 10_000 or not 1 <= number <= 1000:
        raise UsageError("bench: 1 to 10000 rounds, and 1 to 1000 of what is asked for besides")
    if write is not None and (
        os.path.isdir(write) or not os.path.isdir(os.path.dirname(write) or ".")
    ):
        raise UsageError(f"{write!r:.100} cannot be a file", hint="--write takes a file's name")


def _table(bench: Bench) -> Rows:
    columns = (("name", "MEASURED", "id"), ("value", "MOBYSHELL", "text"), ("peer", "PEER", "text"),
               ("ratio", "RATIO", "text"), ("goal", "GOAL", "text"), ("met", "", "check"))  # fmt: skip
    rows = [
        {"name": one.name, "value": one.value, "peer": one.peer,
         "ratio": None if one.ratio is None else round(one.ratio, 3),
         "goal": None if one.goal is None else round(one.goal, 3),
         "met": one.met}
        for one in bench.found
    ]  # fmt: skip
    said = "\n".join(f"not measured: {line}" for line in bench.missing)
    return Rows(columns, rows, "name", said)
