"""The systemd driver against a real one: a user manager, of root, in a group that is delegated to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import cgroups, device_filter
from mobyshell.core.linux.systemd import connected
from mobyshell.core.runtime import Host, Runtime
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House
from tests.waiting import eventually

TOP = "/sys/fs/cgroup"
MANAGER = f"{TOP}/manager"
MIB = 1 << 20


@pytest.fixture
def managed(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """The house, with a D-Bus and a systemd on it."""
    run_directory = tmp_path / "run"
    run_directory.mkdir(mode=0o700)
    address = f"unix:path={run_directory}/bus"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run_directory))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    # root's driver speaks to the system's bus
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
    # it runs only where a systemd has booted the machine
    os.makedirs("/run/systemd/system", exist_ok=True)
    os.mkdir(MANAGER)
    for controller in ("cpu", "cpuset", "io", "memory", "pids"):
        cgroups.write(TOP, "cgroup.subtree_control", f"+{controller}")
    null = subprocess.DEVNULL
    daemon = subprocess.Popen(
        ["dbus-daemon", "--session", f"--address={address}", "--nofork", "--nopidfile"],
        stdin=null, stdout=null, stderr=null,
    )  # fmt: skip
    systemd = None
    try:
        eventually(lambda: (run_directory / "bus").exists())
        systemd = subprocess.Popen(
            ["sh", "-c", f"echo 0 > {MANAGER}/cgroup.procs; exec /lib/systemd/systemd --user "
                         "--unit=basic.target"], stdin=null, stdout=null, stderr=null,
        )  # fmt: skip
        eventually(lambda: systemctl("is-system-running") in ("running", "degraded"))
        host = replace(Host.detect(), cgroup_roots={"": MANAGER})
        house.runtime = Runtime(
            house.runtime.root, sink=house.runtime.sink, host=host, systemd=True
        )
        yield house
        systemctl("exit")
    finally:
        for process in (systemd, daemon):
            if process is not None:
                process.kill()
                process.wait()
        cgroups.kill_all({"": MANAGER})
        cgroups.remove([MANAGER], timeout=120)


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", "--user", *words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)  # fmt: skip
    return done.stdout.strip()


def shown(unit: str, *names: str) -> dict[str, str]:
    lines = systemctl("show", unit, *(f"--property={one}" for one in names)).splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_a_container_in_a_scope_of_a_real_systemd(managed: House) -> None:
    limits = {
        "memory": {"limit": 64 * MIB},
        "pids": {"limit": 9},
        "cpu": {"quota": 25000, "shares": 512},
    }

    def change(document: dict[str, Any]) -> None:
        document["linux"]["cgroupsPath"] = "moby-test.slice:m:c"
        document["linux"]["resources"].update(limits)
        document["annotations"] = {
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.TimeoutStopSec": "uint64 7",
        }

    container = managed.create("c", managed.spec(change, "sleep", "1000"))
    state = run(managed.runtime.start("c"))
    leaf = f"{MANAGER}/moby.slice/moby-test.slice/m-c.scope"
    assert state.cgroups == {"": leaf}
    assert cgroups.processes(leaf) == [state.pid]
    assert shown("m-c.scope", "ActiveState", "Slice", "MemoryMax", "TasksMax", "CPUWeight", "Delegate",
                 "CPUQuotaPerSecUSec", "CollectMode", "TimeoutStopUSec", "DevicePolicy") == {
        "ActiveState": "active", "Slice": "moby-test.slice", "MemoryMax": str(64 * MIB), "TasksMax": "9",
        "CPUWeight": "20", "Delegate": "yes", "CPUQuotaPerSecUSec": "250ms",
        "CollectMode": "inactive-or-failed", "TimeoutStopUSec": "7s", "DevicePolicy": "strict",
    }  # fmt: skip
    files = ("memory.max", "pids.max", "cpu.max", "cpu.weight")
    assert [cgroups.read(leaf, one) for one in files] == [str(64 * MIB), "9", "25000 100000", "20"]
    assert ("mobyshell_dev") in [name for name, _ in device_filter.attached(leaf)]
    assert [one for one in managed.runtime.diff("c") if one.agrees is False] == []
    run(managed.runtime.update("c", {"memory": {"limit": 48 * MIB}, "cpu": {"quota": 50000}}))
    # what systemd writes anew are the new limits
    systemctl("daemon-reload")
    assert cgroups.read(leaf, "memory.max") == str(48 * MIB)
    assert shown("m-c.scope", "MemoryMax", "CPUQuotaPerSecUSec") == {
        "MemoryMax": str(48 * MIB), "CPUQuotaPerSecUSec": "500ms",
    }  # fmt: skip
    result = managed.exec("c", "cat", "/proc/self/cgroup")
    assert result.output.strip().endswith("/m-c.scope")
    run(managed.runtime.pause("c"))
    run(managed.runtime.resume("c"))
    os.close(container.pidfd)
    run(managed.runtime.delete("c", force=True))
    assert shown("m-c.scope", "LoadState") == {"LoadState": "not-found"}
    assert not os.path.exists(leaf)

    def nonsense(document: dict[str, Any]) -> None:
        document["annotations"] = {"org.systemd.property.Nonsense": "true"}

    with pytest.raises(
        MobyshellError, match=r"does not start mobyshell-c.scope: Cannot set property Nonsense"
    ):
        managed.create("c", managed.spec(nonsense, "true"))
    with connected(user=False) as manager:
        manager.stop("nowhere.scope")
