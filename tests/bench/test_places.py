"""Where benches work: gone at the end, and after a kill -9 with the next bench, with all in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.bench.places import clear_killed, place, processes
from mobyshell.core.linux import cgroups

KILLED = """
import json, subprocess, sys, time
from pathlib import Path
from mobyshell.bench.places import place
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.tasks.client import TaskClient

with place("test", sys.argv[1]) as directory:
    new_bundle(directory / "bundle", "busybox")
    tasks = TaskClient(directory / "state", "bench")
    tasks.create(sys.argv[2], str(directory / "bundle"), args=["sleep", "1000"], terminal=False)
    tasks.start(sys.argv[2])
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", f"{directory}/daemon"],
                     stdout=subprocess.DEVNULL)
    config = directory / "bundle" / "config.json"
    spec = json.loads(config.read_text())
    spec["process"] |= {"terminal": False, "args": ["sleep", "1000"]}
    spec["linux"]["cgroupsPath"] = f"/mobyshell-bench-{sys.argv[2]}/other"
    config.write_text(json.dumps(spec))
    runc = [Path(sys.executable).parent / "mobyshell-runc", "--root", directory / "runc", "run", "--detach",
            "--bundle", directory / "bundle", "--pid-file", directory / "pid", f"other-{sys.argv[2]}"]
    subprocess.run(runc, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    (directory / "disk").write_bytes(bytes(1 << 20))
    run = lambda *words: subprocess.run(words, check=True, capture_output=True, text=True).stdout
    run("mke2fs", "-q", "-F", str(directory / "disk"))
    device = run("losetup", "--find", "--show", str(directory / "disk")).strip()
    (directory / "mounted").mkdir()
    run("mount", device, str(directory / "mounted"))
    print(directory, tasks.get(sys.argv[2]).pid, (directory / "pid").read_text(), device, flush=True)
    time.sleep(1000)
"""


def test_a_place_is_gone_at_the_end_and_nobody_elses_meanwhile(tmp_path: Path) -> None:
    with place("test", str(tmp_path)) as first:
        (first / "file").write_text("kept")
        with place("test", str(tmp_path)) as second:
            assert first != second
            assert clear_killed("test", str(tmp_path)) == []
        assert (first / "file").read_text() == "kept"
        assert sorted(tmp_path.iterdir()) == [first]
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_of_a_killed_bench_stays(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "mobyshell-test.link").symlink_to(tmp_path / "target")
    (tmp_path / "mobyshell-test.file").touch()
    (tmp_path / "mobyshell-other.1").mkdir()
    writable = tmp_path / "mobyshell-test.2"
    writable.mkdir()
    writable.chmod(0o777)
    assert clear_killed("test", str(tmp_path)) == []
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.root
def test_the_next_bench_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    id = f"places-{os.getpid()}"
    bench = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), id], stdout=subprocess.PIPE, text=True
    )
    try:
        assert bench.stdout is not None
        said = bench.stdout.readline().split()
        assert len(said) == 4
        bench.send_signal(signal.SIGKILL)
        bench.wait()
        bench.stdout.close()
        left, pid, other, device = Path(said[0]), int(said[1]), int(said[2]), said[3]
        assert str(left) in Path("/proc/self/mountinfo").read_text()
        assert processes(f"{left}/daemon")
        with place("test", str(tmp_path)) as directory:
            assert list(tmp_path.iterdir()) == [directory]
        assert str(left) not in Path("/proc/self/mountinfo").read_text()
        assert not _alive(pid)
        assert not _alive(other)
        assert not any(_alive(one) for one in processes(f"{left}/"))
        assert str(left) not in _backing(device)
        tops = {"/sys/fs/cgroup", *cgroups.detect().own.values()}
        assert not [one for top in tops for one in os.listdir(top) if id in one]
    finally:
        bench.kill()
        bench.wait()
        clear_killed("test", str(tmp_path))
        shutil.rmtree(tmp_path)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _backing(device: str) -> str:
    try:
        return Path(f"/sys/block/{Path(device).name}/loop/backing_file").read_text()
    except OSError:
        return ""
