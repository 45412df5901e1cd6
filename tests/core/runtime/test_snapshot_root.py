"""The root filesystem mounted from layers, seen by the container only."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import InvalidSpec, MobyshellError, Unsupported
from mobyshell.core.oci import Root, Spec
from mobyshell.core.runtime import Host, Stdio
from mobyshell.core.runtime.operations.snapshot_root import layers, mount_root, templated
from mobyshell.core.runtime.plan import show_call
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import RootMount
from tests.core.runtime.conftest import House, Result

pytestmark = pytest.mark.root


@pytest.fixture
def stack(house: House, tmp_path: Path) -> Path:
    """Directories for layers: `image` is the bundle's root filesystem, `own/fs` and `own/work` a
    container's."""
    place = tmp_path / "layers"
    for name in ("middle", "own/fs", "own/work"):
        (place / name).mkdir(parents=True)
    shutil.copytree(house.bundle / "rootfs", place / "image", symlinks=True)
    (place / "middle/told").write_text("by the middle layer\n")
    return place


def overlay(stack: Path, *lower: str, own: str = "own") -> RootMount:
    names = ":".join(f"{stack}/{name}" for name in (*lower, "image"))
    return RootMount(
        "overlay", "overlay",
        ("index=off", f"workdir={stack}/{own}/work", f"upperdir={stack}/{own}/fs", f"lowerdir={names}"),
    )  # fmt: skip


def rooted(spec: Spec) -> Spec:
    return replace(spec, root=Root(path="rootfs"))


def run_on(
    house: House, mount: RootMount, script: str, *, id: str = "c", change: Any = None
) -> Result:
    spec = rooted(house.spec(change, "sh", "-c", script))
    with (
        open("/dev/null") as source,
        open(house.directory / f"{id}.out", "w") as out,
        open(house.directory / f"{id}.err", "w") as err,
    ):
        stdio = Stdio(source.fileno(), out.fileno(), err.fileno())
        container = run(house.runtime.create(id, "", stdio=stdio, spec=spec, rootfs=mount))
    try:
        run(house.runtime.start(id))
    except MobyshellError:
        os.close(container.pidfd)
        run(house.runtime.delete(id, force=True))
        raise
    return house.finish(container)


def mounted(place: Path) -> list[str]:
    return [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(place) in line
    ]


def test_it_sees_the_layers_and_writes_into_its_own(house: House, stack: Path) -> None:
    done = run_on(house, overlay(stack, "middle"), "cat /told; echo mine > /written; rm /told")
    assert (done.status, done.output) == (0, "by the middle layer\n")
    assert (stack / "own/fs/written").read_text() == "mine\n"
    assert os.stat(stack / "own/fs/told").st_rdev == 0  # a whiteout
    assert (stack / "middle/told").exists()


def test_the_host_has_nothing_mounted(house: House, stack: Path) -> None:
    spec = rooted(house.spec(None, "sleep", "600"))
    with open("/dev/null", "r+") as null:
        stdio = Stdio(null.fileno(), null.fileno(), null.fileno())
        container = run(
            house.runtime.create("c", "", stdio=stdio, spec=spec, rootfs=overlay(stack))
        )
    try:
        run(house.runtime.start("c"))
        assert mounted(stack) == []
        assert mounted(house.runtime.root) == []
        assert os.listdir(house.runtime.root / "c/rootfs") == []
        state, _ = house.runtime.state("c")
        assert (state.bundle, state.rootfs) == (
            f"{house.runtime.root}/c", f"{house.runtime.root}/c/rootfs",
        )  # fmt: skip
        assert house.exec("c", "ls", "/bin/sh").status == 0
        assert [one for one in house.runtime.diff("c") if one.agrees is False] == []
    finally:
        os.close(container.pidfd)
        run(house.runtime.delete("c", force=True))
    assert not (house.runtime.root / "c").exists()


def test_two_containers_of_one_image_share_a_plan_and_nothing_else(
    house: House, stack: Path
) -> None:
    for own in ("one", "two"):
        for name in ("fs", "work"):
            (stack / own / name).mkdir(parents=True)
        done = run_on(house, overlay(stack, own=own), "ls /made 2>&1; echo x > /made", id=own)
        assert "No such file" in done.output
    assert (stack / "one/fs/made").exists()
    assert (stack / "two/fs/made").exists()
    assert len(house.runtime._prepared) == 1


def test_a_hundred_layers_are_given_one_by_one(house: House, stack: Path) -> None:
    names = []
    for number in range(100):
        names.append(f"layer-{number:03}")
        (stack / names[-1]).mkdir()
        (stack / names[-1] / f"file-{number:03}").touch()
        (stack / names[-1] / "top").write_text(f"{number}\n")
    done = run_on(house, overlay(stack, *names), "ls / | grep -c file-; cat /top")
    assert (done.status, done.output) == (0, "100\n0\n")


def test_names_with_colons_commas_and_backslashes(house: House, stack: Path) -> None:
    odd = stack / "a:b,c\\d e"
    (odd / "fs").mkdir(parents=True)
    (odd / "work").mkdir()
    (stack / "middle").rename(odd / "middle")

    def escaped(path: Path, also: str = "") -> str:
        return "".join("\\" + one if one in "\\," + also else one for one in str(path))

    for repeat in (1, 8):  # short enough for one string, and not
        lower = [escaped(odd / "middle", ":"), escaped(stack / "image")]
        (stack / "empty").mkdir(exist_ok=True)
        filler = [str(stack / f"empty-{number}") for number in range(repeat * 2)]
        for name in filler:
            Path(name).mkdir(exist_ok=True)
        mount = RootMount(
            "overlay", "overlay",
            (f"workdir={escaped(odd / 'work')}", f"upperdir={escaped(odd / 'fs')}",
             f"lowerdir={':'.join([*filler, *lower])}"),
        )  # fmt: skip
        done = run_on(house, mount, "cat /told; touch /new")
        assert (done.status, done.output) == (0, "by the middle layer\n")
        assert (odd / "fs/new").exists()
        (odd / "fs/new").unlink()


def test_a_bind_is_a_root_too_and_a_view_cannot_be_written(house: House, stack: Path) -> None:
    mount = RootMount("bind", f"{stack}/image", ("rbind", "ro"))
    done = run_on(house, mount, "touch /x", change=lambda d: d["root"].update(readonly=False))
    assert done.status == 1
    assert "Read-only file system" in done.errors
    writable = RootMount("bind", f"{stack}/image", ("rbind", "rw"))
    done = run_on(house, writable, "touch /x", change=lambda d: d["root"].update(readonly=False))
    assert done.status == 0
    assert (stack / "image/x").exists()


def test_in_a_user_namespace_the_runtime_mounts(house: House, stack: Path) -> None:
    stack.chmod(0o700)  # as a store is

    def mapped(document: dict[str, Any]) -> None:
        document["linux"]["namespaces"].append({"type": "user"})
        for which in ("uidMappings", "gidMappings"):
            document["linux"][which] = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    done = run_on(house, overlay(stack, "middle"), "cat /told; id -u", change=mapped)
    assert (done.status, done.output) == (0, "by the middle layer\n0\n")


def in_user_namespace(document: dict[str, Any]) -> None:
    document["linux"]["namespaces"].append({"type": "user"})
    for which in ("uidMappings", "gidMappings"):
        document["linux"][which] = [{"containerID": 0, "hostID": 100000, "size": 65536}]


IDS = ("uidmap=0:100000:65536", "gidmap=0:100000:65536")


def test_layers_whose_ids_are_mapped_belong_to_who_is_in_there(house: House, stack: Path) -> None:
    os.chown(stack / "middle/told", 7, 8)
    os.chown(stack / "own/fs", 100000, 100000)
    plain = overlay(stack, "middle")
    mount = replace(plain, options=(*plain.options, *IDS))
    script = "stat -c %u:%g /bin /told; echo mine > /written; chmod 711 /bin; stat -c %u:%a /bin"
    done = run_on(house, mount, script, change=in_user_namespace)
    assert (done.status, done.output, done.errors) == (0, "0:0\n7:8\n0:711\n", "")
    assert (stack / "own/fs/written").stat().st_uid == 100000
    assert (stack / "middle/told").stat().st_uid == 7  # as it was
    bound = RootMount("bind", f"{stack}/image", ("rbind", "ro", *IDS))
    done = run_on(house, bound, "stat -c %u:%g /bin", change=in_user_namespace)
    assert (done.status, done.output) == (0, "0:0\n")


def test_ids_cannot_be_mapped_without_a_user_namespace(house: House, stack: Path) -> None:
    plain = overlay(stack)
    mount = replace(plain, options=(*plain.options, *IDS))
    with pytest.raises(Unsupported, match="user namespace"):
        run_on(house, mount, "true")
    assert not (house.runtime.root / "c").exists()


def test_layers_that_are_not_there_are_an_error_with_nothing_left(
    house: House, stack: Path
) -> None:
    with pytest.raises(MobyshellError, match="overlay"):
        run_on(house, overlay(stack, "gone"), "true")
    assert list(house.runtime.root.iterdir()) == []


def test_the_events_name_the_real_directories(house: House, stack: Path) -> None:
    run_on(house, overlay(stack), "true")
    told = " ".join(str(event) for event in house.events)
    assert f"{stack}/own/fs" in told
    assert "\0" not in told


def test_a_root_path_that_leads_elsewhere_is_refused(house: House, stack: Path) -> None:
    for path in ("/", "..", "a/b", ""):
        spec = replace(house.spec(), root=Root(path=path))
        with pytest.raises(InvalidSpec):
            house.runtime.create("c", "", stdio=Stdio(0, 1, 2), spec=spec, rootfs=overlay(stack))


# pure


def test_before_linux_6_8_many_layers_are_mounted_by_mount() -> None:
    many = ":".join(f"/var/lib/mobyshell/snapshots/overlayfs/{n}/fs" for n in range(30))
    mount = RootMount(
        "overlay", "overlay", (f"lowerdir={many}", "upperdir=/u/fs", "workdir=/u/work")
    )
    calls = [show_call(call) for call in mount_root(mount, "/r", None, (6, 1)).calls]
    assert calls[0].startswith('mount("overlay", "/r", "overlay", ')
    calls = [show_call(call) for call in mount_root(mount, "/r", None, (6, 8)).calls]
    assert sum('"lowerdir+"' in call for call in calls) == 30
    more = RootMount("overlay", "overlay", (f"lowerdir={':'.join([many] * 4)}",))
    with pytest.raises(Unsupported, match="4095"):
        mount_root(more, "/r", None, (6, 1))


def test_a_directory_too_long_for_the_kernel_is_named() -> None:
    long = "/" + "x" * 252
    with pytest.raises(Unsupported, match="xxx"):
        templated(RootMount("overlay", "overlay", (f"upperdir={long}/fs", f"workdir={long}/work")))


def test_lower_directories_are_unescaped() -> None:
    assert layers(r"lowerdir=/a\:b:/c\\d:/e\,f") == ["/a:b", r"/c\d", "/e,f"]


def test_the_host_knows_its_kernel() -> None:
    major, minor = os.uname().release.split(".")[:2]
    assert Host.detect().kernel == (int(major), int("".join(filter(str.isdigit, minor))))
