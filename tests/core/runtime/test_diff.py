"""Spec against kernel: nothing differs in a fresh container; every change of either side shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import NotFound, WrongState
from mobyshell.core.linux import cgroups
from mobyshell.core.oci import spec_to_json
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.diff.namespaces import namespace_lines
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Difference
from tests.core.runtime.conftest import Change, House, running

pytestmark = pytest.mark.root


def lines(house: House) -> dict[str, Difference]:
    return {one.path: one for one in house.runtime.diff("c")}


def wrong(house: House) -> dict[str, tuple[str, str]]:
    return {path: (one.wanted, one.found) for path, one in lines(house).items()
            if one.agrees is False}  # fmt: skip


def claim(house: House, change: Change) -> None:
    """Let the container's spec say something else than what it was made from."""
    path = house.runtime.root / "c" / "config.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def everything(document: dict[str, Any]) -> None:
    process, linux = document["process"], document["linux"]
    process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [7, 5], "umask": 0o77}
    process["capabilities"] = {
        name: ["CAP_CHOWN"]
        for name in ("bounding", "permitted", "effective", "inheritable", "ambient")
    }
    process["cwd"] = "/tmp"
    process["oomScoreAdj"] = 123
    process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}]
    document["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
         "options": ["size=2m", "mode=1777", "noatime"]},
        {"destination": "/var/tmp", "source": "/usr/share", "options": ["rbind", "ro", "rslave"]},
    ]  # fmt: skip
    linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229,
                         "fileMode": 0o600, "uid": 5, "gid": 6}]  # fmt: skip
    linux["resources"].update(
        {"memory": {"limit": 100_000_000, "reservation": 64 << 20}, "pids": {"limit": 77},
         "cpu": {"shares": 300, "quota": 50000, "period": 100000, "cpus": "0,1"}}
    )  # fmt: skip
    linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    )
    linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    linux["rootfsPropagation"] = "rprivate"
    linux["namespaces"].append({"type": "cgroup"})


@pytest.mark.parametrize("change", [None, everything])
def test_a_fresh_container_is_as_its_spec(house: House, change: Change | None) -> None:
    with running(house, change=change):
        found = lines(house)
        assert wrong(house) == {}
        unasked = {path for path, one in found.items() if one.agrees is None}
        assert unasked <= {"hostname", "linux.sysctl net.ipv4.ip_forward"}
        assert len(found) > 40


def test_values_read_well(house: House) -> None:
    with running(house, change=everything):
        found = lines(house)
        assert found["linux.resources.pids.limit"].found == "77"
        assert found["linux.resources.memory.reservation"].wanted == "64 MiB"
        assert found["process.rlimits[0]"].found == "core 0 unlimited"
        assert found["process.capabilities.ambient"].found == "chown"
        assert found["linux.seccomp"].found == "a filter"
        assert found["linux.devices[0] /dev/fuse"].found == "c 10:229 0600 5:6"
        mount = found["mounts[7] /tmp"]
        assert mount.found == "tmpfs noatime size=2m mode=1777"
        assert mount.wanted == mount.found
        assert found["mounts[8] /var/tmp"].found.startswith("bind ro")


def test_a_user_namespace_is_read_as_the_host_numbers_it(house: House) -> None:
    os.chmod(house.directory, 0o755)

    def change(document: dict[str, Any]) -> None:
        document["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            # everybody, so that pytest's private directories can be crossed
            document["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 100000}]
        document["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}

    with running(house, change=change):
        assert wrong(house) == {}

        def shifted(document: dict[str, Any]) -> None:
            document["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 500, "size": 100000}]

        claim(house, shifted)
        found = wrong(house)
        assert found["linux.uidMappings"] == ("0 500 100000", "0 0 100000")
        assert found["process.user.uid"] == ("507", "7")


CLAIMS: list[tuple[str, Change]] = [
    ("process.user.uid", lambda d: d["process"]["user"].update(uid=5)),
    ("process.user.gid", lambda d: d["process"]["user"].update(gid=5)),
    ("process.user.additionalGids", lambda d: d["process"]["user"].update(additionalGids=[3])),
    ("process.user.umask", lambda d: d["process"]["user"].update(umask=7)),
    ("process.noNewPrivileges", lambda d: d["process"].update(noNewPrivileges=False)),
    ("process.capabilities.bounding",
     lambda d: d["process"]["capabilities"]["bounding"].append("CAP_SYS_ADMIN")),
    ("process.capabilities.inheritable",
     lambda d: d["process"]["capabilities"].update(inheritable=["CAP_KILL"])),
    ("process.rlimits[0]", lambda d: d["process"]["rlimits"][0].update(soft=1000)),
    ("process.oomScoreAdj", lambda d: d["process"].update(oomScoreAdj=5)),
    ("process.terminal", lambda d: d["process"].update(terminal=True)),
    ("root.readonly", lambda d: d["root"].update(readonly=False)),
    ("mounts[0] /proc", lambda d: d["mounts"][0].update(options=["ro"])),
    ("mounts[1] /dev", lambda d: d["mounts"][1].update(options=["nosuid", "size=1m"])),
    ("mounts[2] /dev/pts", lambda d: d["mounts"][2].update(type="tmpfs", options=["nosuid", "noexec"])),
    ("mounts[3] /dev/shm", lambda d: d["mounts"][3]["options"].remove("noexec")),
    ("mounts[5] /sys", lambda d: d["mounts"][5]["options"].append("rw")),
    ("mounts[7] /tmp", lambda d: d["mounts"].append({"destination": "/tmp", "type": "tmpfs"})),
    ("linux.maskedPaths[0] /proc/uptime", lambda d: d["linux"].update(maskedPaths=["/proc/uptime"])),
    ("linux.readonlyPaths[0] /dev", lambda d: d["linux"].update(readonlyPaths=["/dev"])),
    ("linux.namespaces[5] cgroup", lambda d: d["linux"]["namespaces"].append({"type": "cgroup"})),
    ("linux.namespaces (network)", lambda d: d["linux"]["namespaces"].pop(1)),
    ("linux.namespaces[0] pid",
     lambda d: d["linux"]["namespaces"][0].update(path="/proc/self/ns/pid")),
    ("linux.seccomp", lambda d: d["linux"].update(seccomp={"defaultAction": "SCMP_ACT_ALLOW"})),
    ("linux.rootfsPropagation", lambda d: d["linux"].update(rootfsPropagation="shared")),
    ("linux.devices[0] /dev/fuse", lambda d: d["linux"].update(
        devices=[{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}])),
    ("linux.devices[0] /dev/null", lambda d: d["linux"].update(
        devices=[{"path": "/dev/null", "type": "b", "major": 1, "minor": 3}])),
    ("linux.resources.devices", lambda d: d["linux"]["resources"]["devices"].append(
        {"allow": True, "type": "b", "major": 8, "access": "r"})),
    ("linux.resources.pids.limit", lambda d: d["linux"]["resources"].update(pids={"limit": 9})),
    ("linux.resources.memory.limit",
     lambda d: d["linux"]["resources"].update(memory={"limit": 1 << 30})),
    ("linux.resources.cpu.cpus", lambda d: d["linux"]["resources"].update(cpu={"cpus": "0"})),
]  # fmt: skip


def test_whatever_the_spec_says_otherwise_shows(house: House) -> None:
    with running(house):
        path = house.runtime.root / "c" / "config.json"
        original = path.read_text()
        for name, change in CLAIMS:
            claim(house, change)
            assert name in wrong(house), name
            path.write_text(original)
        assert wrong(house) == {}


def test_what_a_program_may_change_by_itself_is_no_accusation(house: House) -> None:
    with running(house, "sh", "-c", "cd /tmp; A=1 exec sleep 1001"):
        deadline = time.monotonic() + 60
        while (found := lines(house))["process.args"].found != "sleep 1001":
            assert time.monotonic() < deadline
        assert [found[f"process.{one}"].agrees for one in ("args", "cwd")] == [None, None]
        assert found["process.cwd"].found == "/tmp"
        claim(house, lambda d: d["process"].update(env=["PATH=/elsewhere", "TERM=xterm"]))
        environment = lines(house)["process.env"]
        assert environment.agrees is None
        assert environment.found == "other or without: PATH"
        assert "/elsewhere" not in environment.wanted  # values may be secrets


def test_what_the_kernel_is_told_behind_our_back_shows(house: House) -> None:
    limits: Change = lambda d: d["linux"]["resources"].update(  # noqa: E731
        {"pids": {"limit": 50}, "memory": {"limit": 64 << 20}}
    )
    with running(house, change=limits) as state:
        cgroups.write(state.cgroups["pids"], "pids.max", "60")
        cgroups.write(state.cgroups["memory"], "memory.limit_in_bytes", "-1")
        cgroups.write(state.cgroups["devices"], "devices.allow", "b 8:* rw")
        cgroups.write(os.path.dirname(state.cgroups["freezer"]), "cgroup.procs", str(state.pid))
        pid = str(state.pid)
        subprocess.run(["prlimit", "--pid", pid, "--nofile=100:1024"], check=True)
        for words in (["-o", "remount,bind,rw", "/sys"], ["-o", "remount,bind,rw", "/"]):
            subprocess.run(["mount", "-N", pid, *words], check=True)
        for point in ("/proc/timer_list", "/dev/mqueue"):
            enter = ["nsenter", "-m", "-t", pid, "/bin/busybox"]  # the container's own
            subprocess.run([*enter, "umount", "-l", point], check=True)
        Path(f"/proc/{pid}/oom_score_adj").write_text("17")
        claim(house, lambda d: d["process"].update(oomScoreAdj=0))
        found = wrong(house)
        cgroups.write(state.cgroups["freezer"], "cgroup.procs", pid)
    assert found == {
        "process.rlimits[0]": ("nofile 1024 1024", "nofile 100 1024"),
        "process.oomScoreAdj": ("0", "17"),
        "root.readonly": ("ro", "rw"),
        "mounts[4] /dev/mqueue": ("mqueue nosuid nodev noexec", "not mounted"),
        "mounts[5] /sys": ("sysfs ro nosuid nodev noexec", "sysfs"),
        "linux.maskedPaths[5] /proc/timer_list": ("hidden", "not mounted over"),
        "linux.cgroupsPath": (f"in {len(state.cgroups)} cgroups", "not in: freezer"),
        "linux.resources.devices": ("10 rules", "more: b 8:* rw"),
        "linux.resources.memory.limit": ("64 MiB", "unlimited"),
        "linux.resources.pids.limit": ("50", "60"),
    }


def test_a_mount_behind_a_link_of_the_image_is_found(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/shm/../shm/x", "type": "tmpfs", "source": "tmpfs"},
        ]

    with running(
        house, "sh", "-c", "ln -s /proc/self/root/dev /tmp/dev; sleep 1000", change=change
    ):
        assert wrong(house) == {}
        claim(house, lambda d: d["mounts"].append(
            {"destination": "/tmp/dev/mqueue", "type": "mqueue", "source": "mqueue"}))  # fmt: skip
        # not through a magic link, which leads wherever the container wants
        assert wrong(house)["mounts[9] /tmp/dev/mqueue"] == ("mqueue", "not mounted")


def test_a_container_cannot_lead_us_out_of_its_root(house: House) -> None:
    script = (
        "cd /tmp; ln -s ../../../../../.. up; ln -s /etc etc; mkfifo fifo; echo ready; sleep 1000"
    )
    mount: Change = lambda d: d["mounts"].append(  # noqa: E731
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
    )
    with running(house, "sh", "-c", script, change=mount):
        out = house.directory / "c.out"
        while "ready" not in out.read_text():
            time.sleep(0.01)

        def paths(document: dict[str, Any]) -> None:
            document["linux"]["devices"] = [
                {"path": "/tmp/up/dev/kmsg", "type": "c", "major": 1, "minor": 11},
                {"path": "/tmp/fifo", "type": "p", "fileMode": 0o644},
            ]
            document["linux"]["maskedPaths"] = ["/tmp/up/root/.bashrc", "/tmp/etc/shadow"]

        claim(house, paths)
        found = lines(house)  # and the FIFO, which has no writer, was not opened
        assert os.path.exists("/dev/kmsg")
        assert found["linux.devices[0] /tmp/up/dev/kmsg"].found == "nothing"
        assert found["linux.devices[1] /tmp/fifo"].agrees is True
        assert found["linux.maskedPaths[1] /tmp/etc/shadow"].found == "not there"


def test_states(house: House) -> None:
    with pytest.raises(NotFound):
        house.runtime.diff("c")
    container = house.create("c", house.spec(None, "true"))
    found = lines(house)
    assert found["process"].found == "not started"
    assert found["process"].agrees is None
    assert wrong(house) == {}
    run(house.runtime.start("c"))
    run(house.runtime.wait("c", timeout=60))
    with pytest.raises(WrongState, match="container not running: c"):
        house.runtime.diff("c")
    assert house.finish(container).status == 0


def test_a_container_that_ends_meanwhile(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from mobyshell.core.runtime import diff as package

    def deadly(spec: Any, state: states.State) -> Iterator[Difference]:
        os.kill(state.pid, signal.SIGKILL)
        os.waitid(os.P_PID, state.pid, os.WEXITED | os.WNOWAIT)
        yield from namespace_lines(spec, state)

    with running(house):
        monkeypatch.setattr(package, "namespace_lines", deadly)
        with pytest.raises(WrongState, match="container not running: c"):
            house.runtime.diff("c")


def test_it_does_not_wait_for_a_filesystem_of_the_containers_own() -> None:
    from mobyshell.core.linux.mounts import parse_line
    from mobyshell.core.runtime.diff.inside import looking_inside

    row = "40 30 0:50 / /mnt rw - fuse.evil evil rw"
    with looking_inside(os.getpid(), (parse_line(row),)) as inside:
        assert not inside.trusted
        assert inside.find("/mnt/x") is None
        assert inside.mount_at("/mnt") is not None


def test_the_runtimes_state_is_what_is_compared_with(house: House) -> None:
    # the bundle was edited after create: that says nothing about this container
    with running(house):
        document = spec_to_json(house.spec(None, "other"))
        document["hostname"] = "changed"
        (house.directory / "config.json").write_text(json.dumps(document))
        assert lines(house)["hostname"].wanted == "runc"
