"""`task`, continued: the verbs that look at a task, `update` and `policy`."""

from __future__ import annotations

from mobyshell.commands.registry import (
    NUMBER,
    READ,
    SECONDS,
    SIZE,
    TASK,
    TEXT,
    WRITE,
    argument,
    option,
    optional,
    switch,
    verb,
)  # fmt: skip
from mobyshell.commands.results import Done, Record, Rows, Stream
from mobyshell.commands.rows import task_row
from mobyshell.core.errors import MobyshellError
from mobyshell.core.values import as_dict

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mobyshell.commands.context import Context

N = "task"
_ID = argument("id", TASK, "the id of the task")


@verb(N, "ps", _ID, effect=READ, example="task ps up", key="P")
def ps(ctx: Context, *, id: str) -> Rows:
    """List the processes of a task, with their numbers outside and inside."""
    columns = (("pid", "PID", "number"), ("pid_inside", "INSIDE", "number"),
               ("ppid", "PPID", "number"), ("uid", "UID", "number"), ("state", "STATE", "text"),
               ("rss", "RSS", "bytes"), ("cpu_ns", "CPU", "duration"),
               ("command", "COMMAND", "text"))  # fmt: skip
    rows = [as_dict(one) for one in ctx.tasks.ps(id)]
    return Rows(columns, rows, "pid")


_STATS = (
    ("id", "ID", "id"), ("cpu_ns", "CPU", "duration"), ("memory", "MEMORY", "bytes"),
    ("memory_limit", "LIMIT", "bytes"), ("memory_peak", "PEAK", "bytes"),
    ("pids", "PIDS", "number"), ("io_read", "READ", "bytes"), ("io_write", "WRITTEN", "bytes"),
)  # fmt: skip


def _running(ctx: Context) -> list[str]:
    return [one.id for one in ctx.tasks.ls() if one.status in ("running", "paused", "created")]


def _stats_rows(ctx: Context, ids: tuple[str, ...] | list[str]) -> list[dict[str, Any]]:
    rows = []
    for one in ids:
        found = ctx.tasks.stats(one)
        rows.append({"id": one, **as_dict(found)})
    return rows


@verb(
    N, "stats",
    optional("id", TASK, "tasks (default: all that run)", many=True),
    effect=READ, example="task stats",
)  # fmt: skip
def stats(ctx: Context, *, id: tuple[str, ...]) -> Rows:
    """Show what the cgroups of tasks have counted."""
    return Rows(_STATS, _stats_rows(ctx, id or _running(ctx)))


@verb(
    N, "top",
    option("--interval", "seconds between two looks", SECONDS, default=1.0),
    option("-n --count", "how many looks (default: until ctrl-c)", NUMBER),
    effect=READ, example="task top -n 2 --interval 0.1",
)  # fmt: skip
def top(ctx: Context, *, interval: float, count: int | None) -> Stream:
    """Watch the running tasks: processor, memory and processes, every second."""
    return Stream(_looks(ctx, interval, count), _show_look)


def _looks(ctx: Context, interval: float, count: int | None) -> Iterator[list[dict[str, Any]]]:
    import time

    before: dict[str, tuple[int, int]] = {}
    number = 0
    while True:
        rows = []
        for id in _running(ctx):
            try:
                row = _stats_rows(ctx, [id])[0]
            except MobyshellError:
                continue  # it ended meanwhile
            used, now = row["cpu_ns"], row["time_ns"]
            if id in before and used is not None and now > before[id][1]:
                row["cpu_percent"] = 100 * (used - before[id][0]) / (now - before[id][1])
            if used is not None:
                before[id] = (used, now)
            rows.append(row)
        yield rows
        number += 1
        if count is not None and number >= count:
            return
        time.sleep(interval)


def _show_look(rows: list[dict[str, Any]]) -> str:
    from mobyshell.commands.output import table

    columns = (("id", "ID", "id"), ("cpu_percent", "CPU%", "percent"), *_STATS[2:6])
    return table(Rows(columns, rows)) + "\n"


_LIMITS = (
    ("--memory", SIZE, "bytes of memory (64M, 1.5G, -1 for none)", ("memory", "limit")),
    ("--memory-swap", SIZE, "memory and swap together", ("memory", "swap")),
    ("--memory-reservation", SIZE, "memory it can count on", ("memory", "reservation")),
    ("--cpu-shares", NUMBER, "weight against its neighbours", ("cpu", "shares")),
    ("--cpu-quota", NUMBER, "microseconds of CPU per period", ("cpu", "quota")),
    ("--cpu-period", NUMBER, "the period, in microseconds", ("cpu", "period")),
    ("--cpuset-cpus", TEXT, "which CPUs: 0-3,7", ("cpu", "cpus")),
    ("--cpuset-mems", TEXT, "which memory nodes", ("cpu", "mems")),
    ("--pids-limit", NUMBER, "how many processes, -1 for no limit", ("pids", "limit")),
    ("--blkio-weight", NUMBER, "weight of its disk use, 10 to 1000", ("blockIO", "weight")),
)


@verb(
    N, "update",
    _ID,
    *(option(flag, help, kind) for flag, kind, help, _ in _LIMITS),
    effect=WRITE, example="task update up --pids-limit 100 --memory 64M", asks="--",
)  # fmt: skip
def update(ctx: Context, *, id: str, **values: Any) -> Done:
    """Change the limits of a task while it runs."""
    resources: dict[str, dict[str, Any]] = {}
    for flag, _, _, (group, name) in _LIMITS:
        value = values[flag[2:].replace("-", "_")]
        if value is not None:
            resources.setdefault(group, {})[name] = value
    ctx.tasks.update(id, resources)
    return Done(id)


@verb(
    N, "policy",
    _ID,
    argument("policy", TEXT, "no, on-failure[:N], always or unless-stopped"),
    effect=WRITE, example="task policy up on-failure:3", key="R",
)  # fmt: skip
def policy(ctx: Context, *, id: str, policy: str) -> Done:
    """Say when a task, and the container it is of, is started again."""
    from mobyshell.commands.container_start import set_policy

    ctx.tasks.get(id)
    set_policy(ctx, id, policy)
    return Done(id)


@verb(N, "inspect", _ID, effect=READ, example="task inspect up", key="i")
def inspect(ctx: Context, *, id: str) -> Record:
    """Show everything that is known of a task: its state, and the spec it was made from."""
    from mobyshell.commands.task_surroundings import network_fields
    from mobyshell.core.clock import rfc3339
    from mobyshell.core.oci import load_spec, spec_to_json

    info = ctx.tasks.get(id)
    fields = task_row(info)
    for name in ("created", "started", "exited"):
        fields[name] = rfc3339(fields[name]) if fields[name] else None
    fields["args"] = list(info.args)
    fields["annotations"] = dict(info.annotations)
    fields["network"] = network_fields(ctx, id)
    checks = getattr(ctx.tasks, "health_log", None)
    if info.health and checks is not None:
        fields["health_log"] = checks(id)
    directory = getattr(ctx.tasks, "directory", None)
    source = directory(id) if directory is not None else info.bundle
    try:
        fields["spec"] = spec_to_json(load_spec(source))
    except MobyshellError as error:
        fields["spec"] = None
        ctx.say(f"note: {error}")
    return Record(fields)


@verb(
    N, "trace",
    _ID,
    switch("--failed", "only calls that the kernel refused"),
    option("--slowest", "only so many, the slowest first", NUMBER),
    effect=READ, example="task trace done", key="y",
)  # fmt: skip
def trace(ctx: Context, *, id: str, failed: bool, slowest: int | None) -> Rows:
    """Show the kernel calls that made a task, with arguments, results and times."""
    from mobyshell.core.runtime.trace import call_rows

    rows = call_rows(ctx.tasks.trace(id))
    if failed:
        rows = [row for row in rows if row["errno"]]
    if slowest is not None:
        rows = sorted(rows, key=lambda row: -row["ns"])[: max(slowest, 0)]
    columns = (("operation", "#", "number"), ("actor", "WHO", "text"), ("ns", "TIME", "duration"),
               ("call", "CALL", "prose"), ("result", "RESULT", "text"))  # fmt: skip
    return Rows(columns, rows, "call")


@verb(
    N, "diff", _ID,
    switch("--all", "what agrees, too"),
    effect=READ, example="task diff up", key="d",
)  # fmt: skip
def diff(ctx: Context, *, id: str, all: bool) -> Rows:
    """Compare a running task's spec with what the kernel says of it."""
    found = ctx.tasks.diff(id)
    rows = [
        {"agrees": one.agrees, "path": one.path, "wanted": one.wanted, "found": one.found,
         "note": one.note}
        for one in found
        if all or one.agrees is not True
    ]  # fmt: skip
    right = sum(one.agrees is True for one in found)
    said = f"{right} of {len(found)} lines agree" + ("" if all else "; --all shows them")
    columns = (("agrees", "", "check"), ("path", "PATH", "id"), ("wanted", "SPEC", "text"),
               ("found", "KERNEL", "text"), ("note", "NOTE", "prose"))  # fmt: skip
    return Rows(columns, rows, "path", said)
