"""The page of a `bench run` with a job: rates first, then each operation."""

from __future__ import annotations

import os
import platform

from mobyshell.bench.job import Job
from mobyshell.bench.load import Report
from mobyshell.bench.tally import Line
from mobyshell.bench.workshop import program, version
from mobyshell.core.errors import MobyshellError


def page(job: Job, report: Report) -> str:
    """As Markdown."""
    threads = sorted({run.threads for run in report.runs})
    engines = list(dict.fromkeys(run.engine for run in report.runs))
    whole = {(run.engine, run.threads): run.lines[0] for run in report.runs}
    lines = [
        f"# {job.name or 'Containers by several workers at once'}", "",
        f"Made by `mobyshell bench run`, as root: {', '.join(job.operations)} of each container "
        f"(`{' '.join(job.command)}`), by so many workers at once. The engines take turns, three "
        "each. A worker is a process; what it starts is the engine's program, but for the library, which it "
        "calls. Numbers of different machines, or of different runs, do not compare.", "",
        f"Linux {platform.release()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}{_versions(engines)}. Load average when it began: "
        f"{report.load:.1f}, when it ended: {os.getloadavg()[0]:.1f}.", "",
        "## Containers a second", "",
        "| | " + " | ".join(f"{number} at once" for number in threads) + " |",
        "|---|" + "---|" * len(threads),
    ]  # fmt: skip
    for engine in engines:
        cells = [_rate(whole.get((engine, number))) for number in threads]
        lines.append(f"| {engine} | " + " | ".join(cells) + " |")
    lines += ["", "## Operations, in milliseconds", "",
              "| engine | at once | operation | done | errors | median | 95 of 100 below | least | most |",
              "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {run.engine} | {run.threads} | {one.operation} | {one.count} | {one.errors} | "
        f"{one.median / 1e6:.2f} | {one.p95 / 1e6:.2f} | {one.least / 1e6:.2f} | {one.most / 1e6:.2f} |"
        for run in report.runs
        for one in run.lines
    ]
    if report.failures or report.missing:
        lines += ["", "What failed:", ""]
        lines += [f"- {number} × {engine} {operation}: {reason}"
                  for (engine, operation, reason), number in report.failures.most_common()]  # fmt: skip
        lines += [f"- not there: {line}" for line in report.missing]
    return "\n".join(lines) + "\n"


def _rate(line: Line | None) -> str:
    return "" if line is None or line.rate is None else f"{line.rate:.1f}"


def _versions(engines: list[str]) -> str:
    found = ""
    for name in ("runc", "crun", "containerd", "podman"):
        if name in engines or (name == "containerd" and "ctr" in engines):
            try:
                found += f"; {version(program(name))}"
            except MobyshellError:
                continue
    return found
