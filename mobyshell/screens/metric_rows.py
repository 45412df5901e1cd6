"""What tasks use and who waits, as rows, lines and graphs. Pure: samples in, text out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mobyshell.commands.output import clean, size
from mobyshell.core.linux.pressure import RESOURCES, Pressure
from mobyshell.core.runtime.values import Stats
from mobyshell.core.tasks.rings import Ring
from mobyshell.core.tasks.sampler import Sampler, Series, Who
from mobyshell.widgets.bars import ceiling, graph, spark
from mobyshell.widgets.resource import Column, ResourceSpec

SPARK = 10
"""Columns of a sparkline in a row: as many seconds."""

_TWO = 80
"""Columns from which on graphs stand side by side."""

METERS = ResourceSpec(
    noun="task",
    key="key",
    columns=(
        Column("id", "TASK", 0, "id"), Column("namespace", "IN", 9, "text", 76),
        Column("cpu", "CPU%", 6, "percent"), Column("cpu_spark", "", SPARK),
        Column("memory", "MEMORY", 8, "bytes"), Column("memory_spark", "", SPARK, "text", 100),
        Column("pids", "PIDS", 5, "number"),
        Column("io", "IO/s", 8, "bytes"), Column("io_spark", "", SPARK, "text", 100),
        Column("stall", "WAITS%", 6, "percent", 56),
    ),
    health=lambda row: "good",
    empty="No task runs: what runs is measured once a second, while this is looked at.",
)  # fmt: skip

WHAT = {"cpu": "CPU", "memory": "Memory", "pids": "Processes", "io": "Bytes read and written",
        "stall": "Time waiting for a processor"}  # fmt: skip
"""What the quantities are called above their graphs."""


def key_of(who: Who) -> str:
    """A task's row."""
    return f"{who[0]}/{who[1]}"


def number(value: float) -> float | None:
    """A value for a cell; None where nothing was measured."""
    return None if math.isnan(value) else value


def meter_rows(sampler: Sampler) -> list[dict[str, Any]]:
    """One row a task."""
    rows = []
    for who, series in sampler.tasks.items():
        pids = number(series["pids"].last)
        row: dict[str, Any] = {"key": key_of(who), "namespace": who[0], "id": who[1]}
        row |= {name: number(series[name].last) for name in ("cpu", "memory", "io", "stall")}
        row["pids"] = None if pids is None else int(pids)
        row["cpu_spark"] = spark(series["cpu"].newest(SPARK), SPARK, top=_top("cpu", series))
        row["memory_spark"] = spark(
            series["memory"].newest(SPARK), SPARK, top=_top("memory", series)
        )
        row["io_spark"] = spark(series["io"].newest(SPARK), SPARK)
        rows.append(row)
    return rows


def _top(name: str, series: Series) -> float:
    """The value that is as high as a graph: of shares of time 100 %, of what has a limit that limit,
    of others what was."""
    stats = series.latest.stats if series.latest else None
    limits = {"memory": stats.memory_limit, "pids": stats.pids_limit} if stats is not None else {}
    least = 100.0 if name in ("cpu", "stall") else limits.get(name) or 0.0
    return max(ceiling(list(series[name])), least)


# one task, larger


def graph_lines(who: Who, series: Series, width: int, room: int) -> list[str]:
    """All quantities of a task, each as a graph below what it is now: side by side, and as high, as
    `width` columns and `room` lines allow."""
    # not every kernel says how long a task waited
    shown = [name for name in WHAT if name != "stall" or not math.isnan(series[name].last)]
    columns = 2 if width >= _TWO else 1
    each = (width - 3 * (columns - 1)) // columns
    height, gap = _fitting(-(-len(shown) // columns), room - 1)
    blocks = [
        [f"{WHAT[name]}: {_now(name, series)}"[:each],
         *graph(series[name].newest(each), each, height, top=_top(name, series))]
        for name in shown
    ]  # fmt: skip
    lines = [clean(f"{who[1]} in namespace {who[0]}")]
    for row in range(0, len(blocks), columns):
        lines += [""] * gap
        for parts in zip(*blocks[row : row + columns], strict=True):
            lines.append("   ".join(f"{part:{each}}" for part in parts).rstrip())
    return lines


def _fitting(rows: int, room: int) -> tuple[int, int]:
    """The height of each of `rows` graphs, below a line of text each, and the lines between them."""
    for height, gap in ((4, 1), (3, 1), (2, 1), (2, 0)):
        if rows * (1 + height + gap) <= room:
            return height, gap
    return 1, 0


def _now(name: str, series: Series) -> str:
    value, stats = series[name].last, series.latest.stats if series.latest else None
    if math.isnan(value):
        return "not counted here" if len(series[name]) > 1 else "…"
    most = max((one for one in series[name] if not math.isnan(one)), default=value)
    if name == "cpu":
        return f"{value:.1f} % of a processor, most {most:.1f} %{_throttled(stats)}"
    if name == "stall":
        return f"{value:.1f} %, most {most:.1f} %"
    if name == "memory":
        return f"{size(value)}{_of(value, stats.memory_limit if stats else None, size)}"
    if name == "io":
        return f"{size(value)}/s, most {size(most)}/s"
    return f"{value:.0f}{_of(value, stats.pids_limit if stats else None, str)}"


def _throttled(stats: Stats | None) -> str:
    held = stats.cpu_throttled_ns if stats is not None else None
    return f", held back {held / 1e9:.1f} s" if held else ""


def _of(value: float, limit: int | None, show: Any) -> str:
    if not limit:
        return ", without a limit"
    return f" of {show(limit)} ({100 * value / limit:.0f} %)"


# the machine


def pressure_lines(
    now: Mapping[str, Pressure], rings: Mapping[str, Ring], trouble: str, width: int
) -> list[str]:
    """The machine's pressure, a line a resource; or why the kernel does not say it."""
    if not now:
        said = trouble.split("\n") if trouble else ["…"]
        return ["Pressure of the machine", *said]
    room = max(10, min(width - 38, 60))
    title = "% of time waited"
    lines = [f"{title:{room + 8}}   now   10s   60s  300s full"]
    for name in RESOURCES:
        if name not in now:
            continue
        one, ring = now[name], rings[name]
        value = "  …  " if math.isnan(ring.last) else f"{ring.last:5.1f}"
        full = f"{one.full.avg10:4.1f}" if one.full is not None else "  – "
        averages = f"{one.some.avg10:5.1f} {one.some.avg60:5.1f} {one.some.avg300:5.1f}"
        graph_ = spark(ring.newest(room), room, top=max(ceiling(list(ring)), 10.0))
        lines.append(f"{name:7} {graph_} {value} {averages} {full}")
    return lines
