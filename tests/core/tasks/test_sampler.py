"""Rates from counters: the arithmetic with made-up ones, and real tasks with real load."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.clock import ManualClock
from mobyshell.core.errors import Unsupported
from mobyshell.core.linux import cgroups, pressure
from mobyshell.core.linux.pressure import Pressure, Stall
from mobyshell.core.runtime.stats import read_stats
from mobyshell.core.runtime.values import Stats
from mobyshell.core.tasks.meter import TaskMeter
from mobyshell.core.tasks.rings import NOTHING, Ring
from mobyshell.core.tasks.sampler import Measured, Reading, Sampler, Series
from tests.core.tasks.conftest import House
from tests.waiting import eventually

SECOND = 1_000_000_000
STATS = Stats(0, 5 * SECOND, 0, 3 << 20, 4 << 20, 4 << 20, 2, None, 100, 50)
WHO = ("default", "web")


def waited(us: int) -> dict[str, Pressure]:
    return {"cpu": Pressure(Stall(1.0, 2.0, 3.0, us))}


# rings


def test_a_ring_keeps_the_newest() -> None:
    ring = Ring(3)
    assert (len(ring), list(ring), ring.newest(2)) == (0, [], [])
    assert math.isnan(ring.last)
    for value in range(5):
        ring.add(value)
    assert (list(ring), ring.last, ring.newest(2), ring.newest(9)) == (
        [2, 3, 4],
        4,
        [3, 4],
        [2, 3, 4],
    )


def test_a_ring_takes_no_memory_as_it_goes() -> None:
    ring = Ring(10)
    before = ring._values.buffer_info()
    for value in range(1000):
        ring.add(value)
    assert ring._values.buffer_info() == before


# rates


def test_rates_are_what_counters_grew_by() -> None:
    series = Series(10)
    series.take(Reading(1 * SECOND, STATS, waited(0)))
    assert all(math.isnan(series[name].last) for name in ("cpu", "io", "stall"))
    assert (series["memory"].last, series["pids"].last) == (3 << 20, 2)
    later = replace(STATS, cpu_ns=6 * SECOND, io_read=1100, io_write=1050)
    series.take(Reading(3 * SECOND, later, waited(500_000)))
    assert series["cpu"].last == 50  # one second of a processor in two
    assert series["io"].last == 1000
    assert series["stall"].last == 25


def test_a_counter_that_went_back_makes_no_rate() -> None:
    series = Series(10)
    series.take(Reading(1 * SECOND, STATS, waited(900)))
    series.take(Reading(2 * SECOND, replace(STATS, cpu_ns=1, io_read=0, io_write=0), waited(0)))
    assert all(math.isnan(series[name].last) for name in ("cpu", "io", "stall"))


def test_two_looks_at_one_moment_make_no_rate() -> None:
    series = Series(10)
    for _ in range(2):
        series.take(Reading(SECOND, STATS))
    assert math.isnan(series["cpu"].last)


def test_what_is_not_counted_is_nothing() -> None:
    none = Stats(0, None, None, None, None, None, None, None, None, None)
    series = Series(10)
    series.take(Reading(1 * SECOND, none))
    series.take(Reading(2 * SECOND, none))
    assert all(math.isnan(series[name].last) for name in ("cpu", "memory", "pids", "io", "stall"))


def test_who_is_gone_is_forgotten_and_the_machine_is_remembered() -> None:
    sampler = Sampler(4)
    for second in range(1, 9):
        tasks = {WHO: Reading(second * SECOND, STATS)} if second < 5 else {}
        sampler.take(Measured(second * SECOND, tasks, waited(second * 100_000)))
        assert (WHO in sampler.tasks) == (second < 5)
    assert sampler.host["cpu"].newest(2) == [10, 10]
    assert len(sampler.host["cpu"]) == 4
    assert math.isnan(sampler.host["memory"].last)


def test_a_machine_without_pressure_has_none() -> None:
    sampler = Sampler(4)
    sampler.take(Measured(1, {}, {}, "no PSI"))
    assert len(sampler.host["cpu"]) == 0


# both kinds of groups

V2 = {
    "cpu.stat": "usage_usec 5000000\nuser_usec 1\nthrottled_usec 7\n", "memory.current": "3145728\n",
    "memory.max": "max\n", "memory.peak": "4194304\n", "pids.current": "2\n", "pids.max": "44\n",
    "io.stat": "8:0 rbytes=60 wbytes=30 rios=1\n8:16 rbytes=40 wbytes=20\n",
    "memory.events": "oom_kill 0\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=100000\n",
}  # fmt: skip
V1 = {
    "cpuacct": {"cpuacct.usage": "5000000000\n"},
    "cpu": {"cpu.stat": "nr_periods 0\nthrottled_time 7000\n"},
    "memory": {"memory.usage_in_bytes": "3145728\n", "memory.limit_in_bytes": "9223372036854771712\n",
               "memory.max_usage_in_bytes": "4194304\n",
               "memory.oom_control": "oom_kill_disable 0\noom_kill 0\n"},
    "pids": {"pids.current": "2\n", "pids.max": "44\n"},
    "blkio": {"blkio.throttle.io_service_bytes_recursive":
              "8:0 Read 60\n8:0 Write 30\n8:16 Read 40\n8:16 Write 20\nTotal 150\n"},
}  # fmt: skip


def test_a_group_of_either_version_is_read_alike(tmp_path: Path) -> None:
    paths: dict[str, str] = {}
    for controller, files in {**V1, "": V2}.items():
        paths[controller] = str(tmp_path / (controller or "unified"))
        Path(paths[controller]).mkdir()
        for name, text in files.items():
            (Path(paths[controller]) / name).write_text(text)
    meter = TaskMeter(str(tmp_path), ManualClock())
    v2, v1 = meter._read({"": paths[""]}), meter._read({k: v for k, v in paths.items() if k})
    hybrid = meter._read(paths)
    assert v1.stats == v2.stats == hybrid.stats
    assert (v2.stats.cpu_ns, v2.stats.io_read, v2.stats.io_write) == (5 * SECOND, 100, 50)
    assert (v2.stats.memory_limit, v2.stats.pids_limit) == (None, 44)
    assert v1.pressure == {}
    assert v2.pressure["cpu"].some.total_us == hybrid.pressure["cpu"].some.total_us == 100_000


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_no_file_is_read_that_nobody_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    files = V1 if version == "v1" else {"": V2}
    paths = {controller: str(tmp_path) for controller in files}
    for controller in files:
        for name, text in files[controller].items():
            (tmp_path / name).write_text(text)
    asked: list[str] = []
    read = cgroups.read

    def noted(path: str, file: str) -> str:
        asked.append(file)
        return read(path, file)

    monkeypatch.setattr(cgroups, "read", noted)
    TaskMeter(str(tmp_path), ManualClock())._read(paths)
    assert len(asked) == len(set(asked)) == 7 - (version == "v1")
    assert not {"memory.peak", "memory.events", "memory.max_usage_in_bytes", "io.pressure"} & {
        *asked
    }
    asked.clear()
    every = read_stats(paths, 1)
    assert every.memory_peak == 4 << 20
    assert every.cpu_throttled_ns == 7000
    assert every.oom_kills == 0
    assert len(asked) == len(set(asked))


# real tasks


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def looked(meter: TaskMeter, sampler: Sampler) -> Sampler:
    sampler.take(meter.measure())
    return sampler


@pytest.mark.root
def test_a_task_that_burns_one_processor(house: House) -> None:
    burning, sleeping = house.sh("while :; do :; done"), house.run("sleep", "1000")
    meter, sampler = TaskMeter(str(house.state)), Sampler()
    pid = house.task_pid(burning)
    looked(meter, sampler)
    started, had = time.monotonic(), cpu_seconds(pid)
    # a busy machine may give it less than a processor: what it got is what is to be told
    eventually(lambda: cpu_seconds(pid) - had >= 1.0)
    looked(meter, sampler)
    passed, used = time.monotonic() - started, cpu_seconds(pid) - had
    told = sampler.tasks["default", burning]["cpu"].last
    assert 0.7 <= told / (100 * used / passed) <= 1.4
    assert told < 130  # it has one process
    assert sampler.tasks["default", sleeping]["cpu"].last < told / 5


@pytest.mark.root
def test_memory_processes_and_the_limits(house: House) -> None:
    id = house.sh("sleep 1000 & sleep 1001 & dd if=/dev/zero of=/dev/null bs=30M count=1; wait")
    house.client.update(id, {"memory": {"limit": 256 << 20}, "pids": {"limit": 44}})
    meter, sampler = TaskMeter(str(house.state)), Sampler()

    def series() -> Series:
        return looked(meter, sampler).tasks["default", id]

    eventually(lambda: series()["pids"].last == 3)
    found = series()
    assert found.latest is not None
    assert (found.latest.stats.pids_limit, found.latest.stats.memory_limit) == (44, 256 << 20)
    assert 0 < found["memory"].last < 256 << 20


@pytest.mark.root
def test_a_task_that_ends_is_forgotten(house: House) -> None:
    id = house.run("sleep", "1000")
    meter, sampler = TaskMeter(str(house.state)), Sampler()
    assert list(looked(meter, sampler).tasks) == [("default", id)]
    house.client.kill(id, 9)
    house.client.wait(id, timeout=60)
    assert not looked(meter, sampler).tasks
    assert meter._groups == {}


@pytest.mark.root
def test_pressure_of_the_machine_and_of_a_group(house: House) -> None:
    """Where the kernel tells it: two who want one processor keep each other waiting."""
    cpus = min(os.sched_getaffinity(0))
    id = house.sh("while :; do :; done & while :; do :; done")
    house.client.update(id, {"cpu": {"cpus": str(cpus)}})
    meter, sampler = TaskMeter(str(house.state)), Sampler()
    measured = meter.measure()
    try:
        pressure.of_host()
    except Unsupported as error:
        assert measured.trouble.startswith(error.message)
        return
    assert set(measured.host) == {"cpu", "memory", "io"}
    assert measured.trouble == ""
    reading = measured.tasks["default", id]
    if "cpu" in reading.pressure:
        sampler.take(measured)
        eventually(lambda: looked(meter, sampler).tasks["default", id]["stall"].last > 20)


def test_no_tasks_are_measured_where_there_is_no_state_root(tmp_path: Path) -> None:
    measured = TaskMeter(str(tmp_path / "none")).measure()
    assert not measured.tasks
    assert measured.host or "PSI" in measured.trouble


def test_nothing_is_not_a_number() -> None:
    assert math.isnan(NOTHING)
