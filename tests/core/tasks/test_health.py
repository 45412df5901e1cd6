"""Health checks: Docker's rules, and real tasks that are asked by a real shim."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.oci import Spec
from mobyshell.core.tasks.healthchecks import (
    HEALTHCHECK,
    HEALTHY,
    STARTING,
    UNHEALTHY,
    Check,
    annotation_of,
    judged,
    read_check,
)
from tests.core.tasks.conftest import House, kill_now, make_bundle
from tests.runtimes import runtime_path
from tests.waiting import eventually

MS = 10**6


def test_a_check_is_read_as_docker_writes_it() -> None:
    assert read_check(annotation_of(("a", "b"), {})) == Check(("a", "b"))
    told = {"Interval": 2500 * MS, "Timeout": 10**9, "StartPeriod": 3 * 10**9, "StartInterval": 0,
            "Retries": 7}  # fmt: skip
    assert read_check(annotation_of(("a",), told)) == Check(("a",), 2.5, 1.0, 3.0, 5.0, 7)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "[]", "{}", '{"Test": []}', '{"Test": ["NONE"]}', '{"Test": ["CMD"]}',
        '{"Test": ["CMD", 1]}', '{"Test": "CMD x"}', '{"Test": ["CMD", "x"], "Interval": "1s"}',
        '{"Test": ["CMD", "x"], "Retries": "x"}', '{"Test": ["CMD", "x"], "Test": []}',
    ],
)  # fmt: skip
def test_what_is_no_check_is_none(text: str) -> None:
    assert read_check(text) is None


def test_what_follows_from_a_check() -> None:
    check = Check(("x",), start_period=10, retries=2)
    assert judged(check, STARTING, 0, well=False, age=5) == (STARTING, 0)
    assert judged(check, STARTING, 0, well=True, age=5) == (HEALTHY, 0)
    assert judged(check, STARTING, 0, well=False, age=11) == (STARTING, 1)
    assert judged(check, STARTING, 1, well=False, age=11) == (UNHEALTHY, 2)
    assert judged(check, HEALTHY, 0, well=False, age=5) == (HEALTHY, 1)
    assert judged(check, UNHEALTHY, 5, well=True, age=50) == (HEALTHY, 0)
    assert (check.pause(STARTING, 5), check.pause(HEALTHY, 5), check.pause(STARTING, 11)) == (
        5,
        30,
        30,
    )


def run(house: House, check: str, *args: str, timeout: int = 60_000, retries: int = 2,
        policy: str = "", runtime: str = "mobyshell") -> str:  # fmt: skip
    """A task that is asked by a shell's `check`, ten times a second."""
    times = {"Interval": 100 * MS, "Timeout": timeout * MS, "Retries": retries}
    told = {HEALTHCHECK: annotation_of(("sh", "-c", check), times)}

    def asked(spec: Spec) -> Spec:
        return replace(spec, annotations={**(spec.annotations or {}), **told})

    id = house.id()
    make_bundle(house.path / id, asked)
    house.client.create(id, str(house.path / id), args=args or ("sleep", "1000"), restart=policy,
                        runtime=runtime)  # fmt: skip
    house.client.start(id)
    return id


def health(house: House, id: str) -> str:
    return house.client.get(id).health


def events(house: House, id: str) -> list[str]:
    return [one.topic for one in house.client.recent_events() if one.id == id]


@pytest.mark.root
@pytest.mark.usefixtures("undertaker")
class TestReal:
    """With containers."""

    def test_a_task_is_asked_time_after_time(self, house: House) -> None:
        id = run(house, "echo asked; test -f /tmp/well")
        assert health(house, id) == STARTING
        eventually(lambda: health(house, id) == UNHEALTHY)
        touch(house, id)
        eventually(lambda: health(house, id) == HEALTHY)
        log = house.client.health_log(id)
        assert 0 < len(log) <= 5
        assert (log[-1]["exit_status"], log[-1]["output"]) == (0, "asked\n")
        eventually(lambda: len(house.client.health_log(id)) == 5)
        told = [one for one in events(house, id) if one != "/tasks/exec-started"]
        assert told.count("/tasks/health") == 2
        assert "/tasks/exit" not in told  # of what is not a user's process, nobody is told
        house.client.kill(id, signal.SIGKILL)
        house.client.wait(id, timeout=60)
        left = len(house.client.health_log(id))
        assert house.client.delete(id) == 137
        assert left == 5
        assert not (house.state / "default" / id).exists()

    def test_one_that_takes_too_long_is_ended(self, house: House) -> None:
        id = run(house, "exec sleep 1000", timeout=200, retries=1)
        eventually(lambda: health(house, id) == UNHEALTHY)
        entry = house.client.health_log(id)[-1]
        assert (entry["exit_status"], entry["output"]) == (-1, "it took longer than 0.2 seconds")

    def test_one_that_cannot_be_run_fails(self, house: House) -> None:
        times = {"Interval": 100 * MS, "Retries": 1}
        told = {HEALTHCHECK: annotation_of(("/no/such",), times)}
        make_bundle(house.path / "b", lambda spec: replace(spec, annotations=told))
        id = house.id()
        house.client.create(id, str(house.path / "b"), args=("sleep", "1000"))
        house.client.start(id)
        eventually(lambda: health(house, id) == UNHEALTHY)
        assert "/no/such" in house.client.health_log(id)[-1]["output"]

    def test_a_paused_one_is_left_alone(self, house: House) -> None:
        id = run(house, "true")
        eventually(lambda: health(house, id) == HEALTHY)
        house.client.pause(id)
        log = house.client.health_log(id)
        # another that is asked meanwhile is a clock
        other = run(house, "true")
        eventually(lambda: len(house.client.health_log(other)) >= 5)
        assert len(house.client.health_log(id)) <= len(log) + 1
        house.client.resume(id)
        last = house.client.health_log(id)[-1]["end_ns"]
        eventually(lambda: house.client.health_log(id)[-1]["end_ns"] > last)

    def test_a_successor_of_the_shim_goes_on(self, house: House) -> None:
        id = run(house, "test -f /tmp/slow && exec sleep 1000; true")
        eventually(lambda: health(house, id) == HEALTHY)
        touch(house, id, "slow")
        probes = house.state / "default" / id / "task" / "execs"

        def asking() -> bool:
            return any(one.name.startswith("health-") and '"exit_status": null' in read(one)
                       for one in probes.iterdir())  # fmt: skip

        eventually(asking)
        kill_now(house.pids()[1])
        house.pids()
        touch(house, id, "slow", rm=True)
        last = house.client.health_log(id)[-1]["end_ns"]
        eventually(lambda: house.client.health_log(id)[-1]["end_ns"] > last)
        assert health(house, id) == HEALTHY
        eventually(
            lambda: sum(1 for one in probes.iterdir() if one.name.startswith("health-")) <= 1
        )

    def test_a_new_run_begins_anew(self, house: House) -> None:
        id = run(house, "true", "sh", "-c", "sleep 1; exit 1", policy="on-failure")
        eventually(lambda: health(house, id) == HEALTHY)
        eventually(lambda: house.client.get(id).restarts > 0)
        eventually(lambda: health(house, id) == HEALTHY)

    @pytest.mark.peer
    def test_tasks_of_another_runtime(self, house: House, tmp_path: Path) -> None:
        id = run(house, "true", runtime=runtime_path("runc", tmp_path))
        eventually(lambda: health(house, id) == HEALTHY)


def read(directory: Path) -> str:
    try:
        return (directory / "process.json").read_text()
    except OSError:
        return ""


def touch(house: House, id: str, name: str = "well", *, rm: bool = False) -> None:
    """Make a file in a task's /tmp, or take it away, from outside."""
    place = house.path / id / "rootfs" / "tmp" / name
    if rm:
        place.unlink()
    else:
        place.write_text("")
