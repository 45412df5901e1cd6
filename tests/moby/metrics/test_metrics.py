"""Metrics as Prometheus' own parser reads them, of real containers and a real store."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mobyshell.core.errors import SyscallFailed
from mobyshell.moby.client import Moby
from mobyshell.moby.container import with_image, with_new_snapshot, with_new_spec
from mobyshell.moby.metrics.containers import samples
from mobyshell.moby.metrics.serve import serving, text
from mobyshell.moby.spec_options import with_image_config, with_memory_limit, with_pids_limit
from tests.moby.test_client import put_image

pytestmark = pytest.mark.root


def parsed(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(page) for one in family.samples
    }  # fmt: skip


def test_a_container_is_counted_by_containerds_names(moby: Moby) -> None:
    image = put_image(moby)
    container = moby.new_container(
        "c", with_image(image), with_new_snapshot("s", image),
        with_new_spec(with_image_config("sleep", "600"), with_memory_limit(64 << 20), with_pids_limit(9)),
    )  # fmt: skip
    with container.new_task() as task:
        task.start()
        found = parsed(text(moby.root, moby.state))
        own = (("container_id", "c"), ("namespace", "demo"), ("runtime", "mobyshell"))
        assert found["container_pids_current", own] >= 1
        assert found["container_pids_limit", own] == 9
        limit = next(
            name for name in ("container_memory_usage_limit_bytes",) if (name, own) in found
        )
        assert found[limit, own] == 64 << 20
        cpu = {
            name for name, labels in found if name.startswith("container_cpu_") and labels == own
        }
        assert cpu & {"container_cpu_total_nanoseconds", "container_cpu_usage_usec_microseconds"}
        assert found["mobyshell_tasks", (("namespace", "demo"), ("status", "running"))] == 1
        assert found["mobyshell_shim_up", ()] == 1
        assert found["mobyshell_shim_resident_bytes", ()] > 1 << 20
    found = parsed(text(moby.root, moby.state))
    assert not any(name.startswith("container_") for name, _ in found)
    assert found["mobyshell_store_images", (("namespace", "demo"),)] == 1
    assert found["mobyshell_store_blobs", ()] == 3


def test_it_is_served(moby: Moby) -> None:
    put_image(moby)
    with serving(moby.root, moby.state, port=0) as url:
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert ("mobyshell_store_images", (("namespace", "demo"),)) in parsed(
                answer.read().decode()
            )
        port = int(url.rpartition(":")[2].partition("/")[0])
        with (
            pytest.raises(SyscallFailed, match=r"127\.0\.0\.1") as refused,
            serving(moby.root, moby.state, port=port),
        ):
            pass
        assert "another --address" in refused.value.hint


def test_to_look_makes_nothing(tmp_path: Path) -> None:
    assert "mobyshell_build_info" in text(tmp_path / "none", str(tmp_path / "nothing"))
    assert list(tmp_path.iterdir()) == []


def test_cgroup_v2_by_its_files(tmp_path: Path) -> None:
    for name, content in {
        "cpu.stat": "usage_usec 10\nuser_usec 4\nnr_throttled 2\nthrottled_usec 3\n",
        "memory.stat": "anon 100\nfile 200\npgfault 5\n", "memory.current": "4096\n",
        "memory.max": "max\n", "memory.events": "oom 1\noom_kill 4\n", "pids.current": "3\n",
        "pids.max": "max\n", "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\nbroken\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content)
    found = {
        (one.name, tuple(one.labels.items())): one.value for one in samples({"": str(tmp_path)})
    }
    assert found["cpu_usage_usec_microseconds", ()] == 10
    assert found["cpu_nr_throttled_total", ()] == 2
    assert found["memory_anon_bytes", ()] == 100
    assert found["memory_usage_bytes", ()] == 4096
    assert found["memory_usage_limit_bytes", ()] == (1 << 64) - 1
    assert found["memory_oom_total", ()] == 1
    assert found["pids_current", ()] == 3
    assert found["pids_limit", ()] == (1 << 64) - 1
    device = (("major", "8"), ("minor", "0"))
    assert (found["io_rbytes_bytes", device], found["io_wios_total", device]) == (1, 4)
    assert list(samples({"": str(tmp_path / "gone")})) == []


def test_what_disks_did_is_told_by_whoever_counted_it(tmp_path: Path) -> None:
    for name, content in {
        "blkio.bfq.io_serviced_recursive": "Total 0\n", "blkio.io_serviced_recursive": "",
        "blkio.throttle.io_serviced_recursive": "7:3 Read 5\n7:3 Total 5\nTotal 5\nbroken\n",
        "blkio.bfq.io_service_bytes_recursive": "7:3 Write 9\nTotal 9\n",
        "blkio.throttle.io_service_bytes_recursive": "7:3 Write 8\nTotal 8\n",
        "blkio.bfq.sectors_recursive": "7:3 6\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content)
    found = [
        (one.name, one.labels["op"], one.labels["major"], one.labels["minor"], one.value)
        for one in samples({"blkio": str(tmp_path), "pids": str(tmp_path)})
    ]
    assert found == [
        ("blkio_io_service_bytes_recursive_bytes", "Write", "7", "3", 9),
        ("blkio_io_serviced_recursive_total", "Read", "7", "3", 5),
        ("blkio_io_serviced_recursive_total", "Total", "7", "3", 5),
        ("blkio_sectors_recursive_total", "", "7", "3", 6),
    ]
