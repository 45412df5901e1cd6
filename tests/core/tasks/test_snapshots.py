"""Tasks whose root filesystem is mounted from layers, by our runtime and by others."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import default_spec, spec_to_json
from mobyshell.core.runtime.values import RootMount
from tests.core.tasks.conftest import House
from tests.runtimes import NAMES, runtime_path

pytestmark = [pytest.mark.root, pytest.mark.peer]


@pytest.fixture(params=["mobyshell", *NAMES])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = str(request.param)
    return name if name == "mobyshell" else runtime_path(name, tmp_path)


def document(*args: str) -> str:
    spec = spec_to_json(default_spec())
    spec["process"] |= {"args": list(args), "terminal": False}
    spec["root"] = {"path": "rootfs"}
    return json.dumps(spec)


def layered(house: House, tmp_path: Path) -> RootMount:
    for name in ("fs", "work"):
        (tmp_path / name).mkdir()
    return RootMount(
        "overlay", "overlay",
        (f"lowerdir={house.bundle}/rootfs", f"upperdir={tmp_path}/fs", f"workdir={tmp_path}/work"),
    )  # fmt: skip


def test_it_writes_into_its_layer_and_the_host_mounts_nothing(
    house: House, tmp_path: Path, runtime: str
) -> None:
    id, mount = house.id(), layered(house, tmp_path)
    script = "echo made > /made; read line; echo $line"
    house.client.create(
        id, spec=document("sh", "-c", script), rootfs=mount, runtime=runtime, stdin=True
    )
    house.client.start(id)
    directory = house.state / "default" / id
    assert str(tmp_path / "fs") not in Path("/proc/self/mountinfo").read_text()
    assert house.client.get(id).bundle == str(directory)
    exec_id = house.client.exec(id, ["cat", "/bin/busybox"]).exec_id
    assert house.client.wait(id, exec_id=exec_id, timeout=60) == 0
    with closing(house.client.attach(id)) as attached:
        attached.write(b"heard\n")
    assert house.client.wait(id, timeout=60) == 0
    assert [line.data for line in house.client.logs(id)] == [b"heard"]
    house.client.delete(id)
    assert not directory.exists()
    assert (tmp_path / "fs/made").read_text() == "made\n"
    assert (house.bundle / "rootfs/bin/busybox").exists()


def test_what_cannot_be_mounted_is_named_and_nothing_is_left(
    house: House, tmp_path: Path, runtime: str
) -> None:
    id, mount = house.id(), RootMount("overlay", "overlay", (f"lowerdir={tmp_path}/missing",))
    with pytest.raises(MobyshellError, match="No such file"):
        house.client.create(id, spec=document("true"), rootfs=mount, runtime=runtime)
    assert not (house.state / "default" / id).exists()
