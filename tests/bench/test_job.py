"""What `bench run` is asked to do: as a file, also bucketbench's, and as flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobyshell.bench.job import ENGINES, EngineJob, Job, make_job, parse_job
from mobyshell.bench.tally import percentile
from mobyshell.core.errors import InvalidSpec

OURS = """
name: basic
command: sleep 1000
threads: [1, 2]
containers: 5
operations: [create, start, exec, exec, stop, delete]
engines: [library, {type: runc, threads: 4}, {type: ctr, containers: 7}]
"""

THEIRS = """
name: BasicBench
rootfs: /
command: date
detached: true
drivers:
  - type: Runc
    threads: 5
    iterations: 15
  - type: Containerd
    threads: 2
    iterations: 3
commands: [run, unpause, stop, remove]
"""


def test_a_file() -> None:
    assert parse_job(OURS) == Job(
        (EngineJob("library", (1, 2), 5), EngineJob("runc", (4,), 5), EngineJob("ctr", (1, 2), 7)),
        ("create", "start", "exec", "exec", "stop", "delete"),
        ("sleep", "1000"),
        "busybox",
        "basic",
    )


def test_bucketbenchs_own_names() -> None:
    job = parse_job(THEIRS)
    assert job.engines == (EngineJob("runc", (5,), 15), EngineJob("ctr", (2,), 3))
    assert job.operations == ("run", "resume", "stop", "delete")
    assert job.rootfs == "/"


def test_flags_and_what_they_leave_away() -> None:
    assert [one.engine for one in make_job((), (), 10, ()).engines] == list(ENGINES)
    job = make_job(("crun",), (1, 8), 3, ("run", "delete"))
    assert job.engines == (EngineJob("crun", (1, 8), 3),)
    assert job.operations == ("run", "delete")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "a: 1", "engines: []", "engines: docker", "engines: [docker]", "engines: [[runc]]",
        "threads: 0", "threads: [1, 65]", "threads: many", "threads: true", "containers: -1",
        "containers: 10001", "operations: []", "operations: [stop]", "operations: [run, fly]",
        "operations: [run, create]", "operations: [start, create]", "command: []", "command: {a: 1}",
        "detached: false", "rootfs: /nowhere", "engines: [runc]\nengines: [crun]",
        "drivers: [runc]\nengines: [crun]", "engines: [{type: runc, colour: red}]",
        "a: &a [1]\nb: *a", "x: " + "[" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_job_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_job(text)
    assert "\n" not in caught.value.message


def test_ninety_five_of_a_hundred() -> None:
    assert percentile(range(1, 101), 95) == 95
    assert percentile([7], 95) == 7
    assert percentile([1, 2], 95) == 2


def test_the_recipe_is_a_job() -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "bench" / "basic.yml"
    assert {one.engine for one in parse_job(recipe.read_text()).engines} == set(ENGINES)
