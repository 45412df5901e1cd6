"""Containers by several workers at once: counted, failures too, and nothing left of any engine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import pytest

from mobyshell.bench.crew import ALL, Crew
from mobyshell.bench.job import EngineJob, Job
from mobyshell.bench.load import run_job
from mobyshell.bench.load_page import page
from mobyshell.bench.places import processes
from mobyshell.core.errors import WorkerLost

pytestmark = [pytest.mark.root, pytest.mark.peer]


def silent(text: str) -> None:
    pass


OURS = f"mobyshell-bench-{os.getpid()}-"


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MOBYSHELL_LINGER", "0.2")
    yield
    deadline = time.monotonic() + 60
    while (
        processes(OURS)
        or OURS in Path("/proc/self/mounts").read_text()
        or glob(f"/sys/fs/cgroup/**/*bench*{os.getpid()}*/", recursive=True)
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("engine", ["library", "mobyshell-runc", "runc", "crun", "ctr", "podman"])
def test_an_engine_does_it_all(engine: str) -> None:
    operations = ("create", "start", "exec", "pause", "resume", "state", "list", "kill", "delete")
    # runc's list fails in the moment in which another of its containers is removed
    threads, each = (1, 2) if engine == "runc" else (2, 1)
    job = Job((EngineJob(engine, (threads,), each),), operations)
    report = run_job(job, silent)
    assert not report.missing
    assert not report.failures
    (run,) = report.runs
    assert [line.operation for line in run.lines] == [ALL, *operations]
    assert all(line.count == 2 and line.median > 0 for line in run.lines)
    assert run.lines[0].rate
    assert f"| {engine} | {threads} | exec | 2 | 0 |" in page(job, report)


def test_failures_are_counted_by_their_reason_and_the_rest_goes_on() -> None:
    job = Job((EngineJob("runc", (1, 2), 2),), ("run", "start", "delete"))
    report = run_job(job, silent)
    assert sum(report.failures.values()) == 6
    ((engine, operation, reason),) = report.failures
    assert (engine, operation) == ("runc", "start")
    assert "exited with 1" in reason
    by_name = {(run.threads, one.operation): one for run in report.runs for one in run.lines}
    assert (by_name[1, "run"].count, by_name[1, "start"].errors, by_name[1, ALL].errors) == (
        2,
        2,
        2,
    )
    assert by_name[2, "delete"].count == 0
    assert "| 2 | start | 0 | 4 |" in page(job, report)


def test_a_program_that_cannot_run_is_a_failure_of_every_container() -> None:
    report = run_job(Job((EngineJob("library", (1,), 2),), ("run", "stop"), ("/nowhere",)), silent)
    assert report.runs[0].lines[0].errors == 2


def test_a_worker_that_ends_early_is_told_and_none_is_left() -> None:
    with pytest.raises(WorkerLost), Crew("mobyshell.bench.no_such_module", [{}, {}]) as crew:
        crew.run()
    assert not processes("mobyshell.bench.no_such_module")


def test_workers_stop_when_the_bench_does() -> None:
    job = {
        "engine": "x", "commands": {"run": [["/bin/sleep", "0.01"]]}, "remove": [],
        "signals": False, "without": [], "environment": {}, "directory": "/nowhere",
        "containers": 100_000, "operations": ["run"], "prefix": f"c{os.getpid()}",
    }  # fmt: skip
    crew = Crew("mobyshell.bench.hand", [job, job])
    stopped = crew.stop()
    crew.__exit__(None, None, None)
    assert len(stopped) == 2
    assert all(len(one.times.get("run", ())) < 100_000 for one in stopped)
