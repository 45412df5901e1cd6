"""`bench`: containers by several workers at once, measured or stressed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobyshell.commands.bench import check
from mobyshell.commands.registry import NUMBER, READ, SECONDS, option, switch, verb
from mobyshell.commands.results import Rows
from mobyshell.core.errors import (
    Interrupted,
    InvalidSpec,
    MobyshellError,
    NotFound,
    UsageError,
)

if TYPE_CHECKING:
    from mobyshell.bench.tally import Line
    from mobyshell.commands.context import Context


def measure(
    ctx: Context, path: str | None, engines: tuple[str, ...], operations: tuple[str, ...],
    threads: tuple[int, ...], containers: int | None, write: str | None,
) -> Rows:  # fmt: skip
    """`bench run` of a job: a file, or what its options say."""
    from mobyshell.bench.job import make_job, parse_job
    from mobyshell.bench.load import run_job
    from mobyshell.bench.load_page import page

    given = engines or operations or threads or containers is not None
    if path is not None and given:
        raise UsageError("bench run: a job has its own engines, operations, threads, containers")
    if path is not None:
        job = parse_job(_read(path))
    else:
        try:
            job = make_job(engines, threads, 10 if containers is None else containers, operations)
        except InvalidSpec as error:
            raise UsageError(f"bench run: {error.message}", hint=error.hint) from None
    report = run_job(job, ctx.say)
    if write is not None:
        Path(write).write_text(page(job, report))
    columns = (("engine", "ENGINE", "id"), ("threads", "THREADS", "number"),
               ("operation", "OPERATION", "text"), ("count", "DONE", "number"),
               ("errors", "ERRORS", "number"), ("median", "MEDIAN", "duration"),
               ("p95", "P95", "duration"), ("min", "MIN", "duration"), ("max", "MAX", "duration"),
               ("rate", "A SECOND", "text"))  # fmt: skip
    rows = [
        {"engine": run.engine, "threads": run.threads, **_line(one)}
        for run in report.runs
        for one in run.lines
    ]  # fmt: skip
    said = [f"{number} × {engine} {operation}: {reason}"
            for (engine, operation, reason), number in report.failures.most_common(20)]  # fmt: skip
    said += [f"not there: {line}" for line in report.missing]
    return Rows(columns, rows, "engine", "\n".join(said))


def _line(one: Line) -> dict[str, Any]:
    return {
        "operation": one.operation, "count": one.count, "errors": one.errors,
        "median": one.median, "p95": one.p95, "min": one.least, "max": one.most,
        "rate": None if one.rate is None else round(one.rate, 2),
    }  # fmt: skip


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidSpec(f"{path} is not UTF-8") from None
    except FileNotFoundError:
        raise NotFound(f"no file {path}") from None


@verb(
    "bench", "stress",
    option("--for", "go on for so long", SECONDS, name="duration", default=60.0),
    option("-c --concurrency", "workers at once", NUMBER, default=4),
    switch("--pull", "fetch each container's image from a registry of the bench's, and remove it"),
    effect=READ, example="bench stress --for 1s -c 2",
)  # fmt: skip
def stress(ctx: Context, *, duration: float, concurrency: int, pull: bool) -> Rows:
    """Let containers come and go in private directories; fail if one fails or anything is left.

    Create, start, exec, kill and delete, and some ruder ways to go. At the end there may be no
    process, mount, cgroup, file or row left, and the store must be sound. Ctrl-C ends it early, with
    the same checks.
    """
    from mobyshell.bench import stress as stressing
    from mobyshell.bench.tally import Line

    check(1, concurrency)
    if concurrency > 64 or not 0 < duration <= 86_400:
        raise UsageError("bench stress: 1 to 64 workers, for at most a day")
    verdict = stressing.stress(duration, concurrency, ctx.say, pull=pull)
    rows = [{"kind": "operation", **_line(one)} for one in verdict.lines]
    nothing = dict.fromkeys(_line(Line("", 0, 0)))
    rows += [
        {**nothing, "kind": "failure", "operation": f"{operation}: {reason}", "count": count}
        for (operation, reason), count in verdict.failures.most_common()
    ]
    rows += [{**nothing, "kind": "leak", "operation": leak, "count": 1} for leak in verdict.leaks]
    columns = (("kind", "", "text"), ("operation", "WHAT", "id"), ("count", "DONE", "number"),
               ("errors", "ERRORS", "number"), ("median", "MEDIAN", "duration"),
               ("p95", "P95", "duration"), ("max", "MAX", "duration"),
               ("rate", "A SECOND", "text"))  # fmt: skip
    shown = Rows(columns, rows, "operation")
    if not verdict.sound:
        failures = sum(verdict.failures.values())
        raise Unsound(f"{failures} failures, and {len(verdict.leaks)} things were left", shown)
    if verdict.interrupted:
        raise Stopped("ended early; nothing failed, and nothing was left", shown)
    shown.said = "nothing failed, and nothing was left"
    return shown


class Unsound(MobyshellError):
    """Something failed or was left, with the table of it."""

    def __init__(self, message: str, rows: Rows) -> None:
        super().__init__(message)
        self.rows = rows


class Stopped(Interrupted):
    """Ctrl-C, with the table of what was done until then."""

    def __init__(self, message: str, rows: Rows) -> None:
        super().__init__(message)
        self.rows = rows
