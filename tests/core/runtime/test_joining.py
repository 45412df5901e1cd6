"""Entering namespaces that exist, in whatever order the spec lists them; clocks of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux.namespaces import KINDS
from mobyshell.core.runtime import Container
from mobyshell.core.runtime.plan import Actor, Operation, Phase
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House

pytestmark = pytest.mark.root

Document = dict[str, Any]
PROC = {"network": "net", "mount": "mnt"}
MAPPINGS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture
def rootfs(tmp_path: Path, house: House) -> Path:
    """A root filesystem that the ids of MAPPINGS may enter and own."""
    made = tmp_path / "rootfs"
    shutil.copytree(house.bundle / "rootfs", made, symlinks=True)
    subprocess.run(["chown", "-R", "100000:100000", str(made)], check=True)
    for path in (tmp_path, *tmp_path.parents):
        if path.is_relative_to("/tmp/pytest-of-root"):
            path.chmod(path.stat().st_mode | 0o011)
    return made


def furnish(document: Document, rootfs: Path) -> None:
    document["root"] = {"path": str(rootfs)}


@pytest.fixture
def first(house: House, rootfs: Path) -> Iterator[Container]:
    """A container with namespaces of all kinds, owned by its user namespace."""

    def change(document: Document) -> None:
        furnish(document, rootfs)
        document["linux"]["namespaces"] = [
            {"type": PROC_NAME} for PROC_NAME in
            ("user", "pid", "network", "ipc", "uts", "mount", "cgroup", "time")
        ]  # fmt: skip
        document["linux"]["uidMappings"] = document["linux"]["gidMappings"] = MAPPINGS

    container = house.create("first", house.spec(change, "sleep", "1000"))
    run(house.runtime.start("first"))
    yield container
    run(house.runtime.kill("first", 9))
    house.finish(container)


def joined(container: Container, rootfs: Path, kinds: list[str], *new: str) -> Any:
    def change(document: Document) -> None:
        furnish(document, rootfs)
        document.pop("hostname")
        # what may be mounted in a user namespace depends on who owns the other namespaces
        document["mounts"] = [
            one for one in document["mounts"] if one["type"] in ("proc", "tmpfs")
        ]  # fmt: skip
        document["linux"]["namespaces"] = [
            *({"type": kind, "path": f"/proc/{container.pid}/ns/{PROC.get(kind, kind)}"}
              for kind in kinds),
            *({"type": kind} for kind in new),
        ]  # fmt: skip

    return change


def inodes(pid: int | str, kinds: list[str]) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{PROC.get(kind, kind)}") for kind in kinds]


LOOK = "for n in {}; do readlink /proc/self/ns/$n; done"


@pytest.mark.parametrize(
    "kinds",
    [
        ["user", "network", "ipc", "uts", "pid", "time"],
        ["time", "pid", "network", "user", "uts", "ipc"],
        ["network", "ipc", "uts", "pid", "time", "user"],
    ],
)
def test_any_order_with_the_user_namespace_that_owns_the_others(
    house: House, first: Container, rootfs: Path, kinds: list[str]
) -> None:
    names = " ".join(PROC.get(kind, kind) for kind in kinds)
    lines = house.sh(LOOK.format(names) + "; id -u", joined(first, rootfs, kinds, "mount"))
    assert lines == [*inodes(first.pid, kinds), "0"]


def test_a_user_namespace_beside_namespaces_of_the_host(
    house: House, first: Container, rootfs: Path
) -> None:
    """The host's own network belongs to the host: once inside, nothing may enter it any more."""

    def change(document: Document) -> None:
        joined(first, rootfs, ["user"], "mount", "pid")(document)
        document["linux"]["namespaces"].insert(
            1, {"type": "network", "path": f"/proc/{os.getpid()}/ns/net"}
        )

    lines = house.sh(LOOK.format("user net"), change)
    assert lines == inodes(first.pid, ["user"]) + inodes("self", ["network"])


def test_the_mount_namespace_of_another_keeps_its_root(house: House) -> None:
    plain = house.create("plain", house.spec(None, "sleep", "1000"))
    run(house.runtime.start("plain"))
    holder = subprocess.Popen(["unshare", "--mount", "sh", "-c", "echo; exec sleep 1000"],
                              stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.read(1)

        def change(document: Document) -> None:
            document["linux"]["namespaces"] = [
                {"type": "mount", "path": f"/proc/{holder.pid}/ns/mnt"},
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"},
            ]  # fmt: skip

        lines = house.sh("readlink /proc/self/ns/mnt; ls /; grep -c ' /proc ' /proc/mounts", change)
        assert lines[0] == os.readlink(f"/proc/{holder.pid}/ns/mnt")
        assert "bin" in lines
        # the others in it are where they were
        assert os.readlink(f"/proc/{holder.pid}/root") == "/"
        assert Path(f"/proc/{holder.pid}/root/etc/hostname").exists() == os.path.exists(
            "/etc/hostname"
        )
    finally:
        holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()
        run(house.runtime.kill("plain", 9))
        house.finish(plain)


@pytest.mark.parametrize("kind", ["network", "ipc", "pid", "time", "user", "mount"])
def test_a_file_of_another_kind_is_refused_by_its_name(house: House, kind: str) -> None:
    path = "/proc/self/ns/uts"

    def change(document: Document) -> None:
        kept = [one for one in document["linux"]["namespaces"] if one["type"] != kind]
        document["linux"]["namespaces"] = [*kept, {"type": kind, "path": path}]

    with pytest.raises(MobyshellError, match=f"{path} is not the file of a {kind} namespace"):
        house.run("true", change=change)


def test_a_file_that_is_no_namespace(house: House, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    def change(document: Document) -> None:
        document["linux"]["namespaces"][1] = {"type": "network", "path": str(tmp_path / "fifo")}

    with pytest.raises(SyscallFailed) as caught:
        house.run("true", change=change)
    assert "is not the file of a network namespace" in caught.value.hint


def joining_calls(house: House, change: Any) -> list[tuple[Operation, str]]:
    plan = house.runtime.plan("c", str(house.bundle), spec=house.spec(change, "true"))
    return [
        (operation, call.name)
        for _, operation in plan.of(Actor.CHILD, Phase.JOIN)
        for call in operation.calls
    ]


def test_nothing_can_look_in_before_anything_is_joined(house: House) -> None:
    def change(document: Document) -> None:
        document["linux"]["namespaces"][0] = {"type": "pid", "path": "/proc/1/ns/pid"}

    names = [name for _, name in joining_calls(house, change)]
    assert names.index("prctl") < names.index("setns")
    assert joining_calls(house, None) == []


def test_all_are_opened_before_one_is_entered(house: House) -> None:
    def change(document: Document) -> None:
        document.pop("hostname")
        document["linux"]["namespaces"] = [
            {"type": kind, "path": f"/proc/1/ns/{PROC.get(kind, kind)}"}
            for kind in ("user", "mount", "network")
        ]

    names = [name for _, name in joining_calls(house, change)]
    assert names.index("setns") > max(i for i, name in enumerate(names) if name == "openat")


CLOCKS = {"monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 86400 * 500}}


@pytest.mark.parametrize("user", [False, True])
def test_clocks_of_its_own(house: House, rootfs: Path, user: bool) -> None:
    def change(document: Document) -> None:
        furnish(document, rootfs)
        document["linux"]["namespaces"].append({"type": "time"})
        document["linux"]["timeOffsets"] = CLOCKS
        if user:
            document["linux"]["namespaces"].append({"type": "user"})
            document["linux"]["uidMappings"] = document["linux"]["gidMappings"] = MAPPINGS

    container = house.create("c", house.spec(change, "sh", "-c", "cat /proc/uptime; sleep 1000"))
    run(house.runtime.start("c"))
    try:
        rows = Path(f"/proc/{container.pid}/timens_offsets").read_text().split()
        assert rows == ["monotonic", "1000", "5", "boottime", str(86400 * 500), "0"]
        done = house.exec(
            "c", "sh", "-c", "cut -d . -f 1 /proc/uptime; readlink /proc/self/ns/time"
        )
        uptime, name = done.output.split()
        assert int(uptime) >= 86400 * 500
        assert name == os.readlink(f"/proc/{container.pid}/ns/time")
        assert name != os.readlink("/proc/self/ns/time")
        found = {one.path: one.agrees for one in house.runtime.diff("c")}
        assert found["linux.timeOffsets monotonic"] is True
        assert found["linux.timeOffsets boottime"] is True
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)


def test_a_clock_before_the_beginning(house: House) -> None:
    def change(document: Document) -> None:
        document["linux"]["namespaces"].append({"type": "time"})
        document["linux"]["timeOffsets"] = {"monotonic": {"secs": -(2**40)}}

    with pytest.raises(SyscallFailed, match="set clocks ahead") as caught:
        house.run("true", change=change)
    assert "before 0" in caught.value.hint


def test_every_kind_can_be_new(house: House) -> None:
    def change(document: Document) -> None:
        document["linux"]["namespaces"] += [{"type": "time"}, {"type": "cgroup"}]

    kinds = sorted(set(KINDS) - {"user"})
    lines = house.sh(LOOK.format(" ".join(kinds)), change)
    assert all(
        line != os.readlink(f"/proc/self/ns/{k}") for line, k in zip(lines, kinds, strict=True)
    )


@pytest.mark.parametrize("user", [False, True])
def test_the_out_of_memory_score_in_a_user_namespace(
    house: House, rootfs: Path, user: bool
) -> None:
    def change(document: Document) -> None:
        furnish(document, rootfs)
        document["process"]["oomScoreAdj"] = 400
        if user:
            document["linux"]["namespaces"].append({"type": "user"})
            document["linux"]["uidMappings"] = document["linux"]["gidMappings"] = MAPPINGS

    assert house.sh("cat /proc/self/oom_score_adj", change) == ["400"]


def test_lowering_the_out_of_memory_score_says_what_it_needs(house: House) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    status = Path("/proc/self/status").read_text()
    may = int(status.split("CapEff:")[1].split()[0], 16) >> 24 & 1

    def change(document: Document) -> None:
        document["process"]["oomScoreAdj"] = own - 1

    if may:
        assert house.sh("cat /proc/self/oom_score_adj", change) == [str(own - 1)]
    else:
        with pytest.raises(SyscallFailed) as caught:
            house.run("true", change=change)
        assert "CAP_SYS_RESOURCE" in caught.value.hint
