"""Tasks whose records are damaged or gone: force ends them, by what the kernel says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import cgroups
from mobyshell.core.linux.procfs import start_time
from mobyshell.core.oci import Spec
from tests.core.tasks.conftest import House, buried, kill_now, make_bundle
from tests.waiting import eventually

pytestmark = pytest.mark.root


def damage(path: Path, how: str) -> None:
    """What a disk, or a hand, does to a file."""
    if how == "removed":
        path.unlink()
    else:
        path.write_text(how)


BOTH = ("state.json", "task/process.json")


@pytest.mark.parametrize(
    ("lost", "how"),
    [
        (("state.json",), "removed"),
        (("state.json",), "{"),
        (BOTH, "removed"),
        (BOTH, ""),
        ((*BOTH, "config.json"), "{"),
    ],
)
def test_a_task_that_has_lost_its_records_is_ended_by_force(
    house: House, lost: tuple[str, ...], how: str
) -> None:
    id = house.sh("setsid sleep 6000 & sleep 6000 & exec sleep 6000")
    pid = house.client.get(id).pid
    groups = {one for one in cgroups.detect(f"/proc/{pid}/cgroup").own.values() if id in one}
    assert groups
    directory = house.state / "default" / id
    for name in lost:
        damage(directory / name, how)
    if len(lost) > 1:
        kill_now(*house.pids())  # a successor knows it by its directory alone
        house.pids()
    with pytest.raises(MobyshellError) as caught:
        house.client.delete(id)
    assert "--force" in caught.value.hint
    assert os.path.exists(f"/proc/{pid}")
    house.client.delete(id, force=True)
    assert house.client.ls() == []
    assert not directory.exists()
    eventually(lambda: buried(pid))
    assert not [one for one in groups if os.path.exists(one)]


@pytest.mark.parametrize("records", [BOTH[:1], BOTH])
def test_force_ends_what_is_in_no_cgroup_and_unmounts(
    house: House, records: tuple[str, ...]
) -> None:
    """Without namespaces of its own, and moved out of its cgroups: the shim knows the process, and
    the kernel the mount."""

    def bare(spec: Spec) -> Spec:
        assert spec.linux is not None
        kept = tuple(one for one in spec.linux.namespaces or () if one.type == "ipc")
        linux = replace(spec.linux, namespaces=kept, masked_paths=(), readonly_paths=())
        return replace(spec, linux=linux, hostname=None)

    bundle = make_bundle(house.path / "bare", bare)
    id = house.id()
    house.client.create(id, str(bundle), args=["sleep", "6000"])
    house.client.start(id)
    pid = house.client.get(id).pid
    for top in set(cgroups.detect().roots.values()):
        cgroups.write(top, "cgroup.procs", str(pid))
    assert str(bundle) in Path("/proc/self/mountinfo").read_text()
    for name in records:
        damage(house.state / "default" / id / name, "{")
    kill_now(house.pids()[1])
    house.pids()
    house.client.delete(id, force=True)
    eventually(lambda: buried(pid))
    assert str(bundle) not in Path("/proc/self/mountinfo").read_text()
    assert not (house.state / "default" / id).exists()


def test_what_has_lost_its_record_and_ended_leaves_nothing(house: House) -> None:
    id = house.run("true")
    assert house.client.wait(id, timeout=60) == 0
    (house.state / "default" / id / "state.json").unlink()
    assert house.client.delete(id) == 0
    assert not (house.state / "default" / id).exists()
    left = [one for top in set(cgroups.detect().own.values()) for one in os.listdir(top)]
    assert not [one for one in left if id in one]


def test_what_a_shim_died_in_the_making_of_goes_with_its_cgroups(house: House) -> None:
    """Before there was a record of it; the name of a build's step is never taken again."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    groups = [one for one in map(Path, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")) if one.is_dir()]
    made = {}
    for name, creator in (
        ("dead", (gone.pid, 1)),
        ("alive", (os.getpid(), start_time(os.getpid()))),
    ):
        group = groups[0] / f"mobyshell-test-{house.id()}"
        group.mkdir()
        made[name] = group
        directory = house.state / "default" / name
        (directory / "rootfs").mkdir(parents=True)
        (directory / "creator").write_text("{} {}".format(*creator))
        (directory / "cgroups.json").write_text(json.dumps({"pids": str(group), "levels": []}))
    try:
        house.pids()
        eventually(lambda: not (house.state / "default" / "dead").exists())
        assert not made["dead"].exists()
        assert (house.state / "default" / "alive" / "creator").exists()
        assert made["alive"].exists()
    finally:
        made["alive"].rmdir()
        shutil.rmtree(house.state / "default" / "alive")
