"""The script of a plan makes the same container as the plan."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.runtime.script import script
from tests.core.runtime.conftest import House, cgroups_left

pytestmark = pytest.mark.root

PROBE = (
    "cut -d ' ' -f 4- /proc/self/mountinfo | sed 's/master:[0-9]*//; s/^[^ ]*mobyshell-[^ /]*/CGROUP/' ;"
    "for n in mnt pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; ulimit -n; hostname;"
    "cat /proc/self/cgroup | wc -l; umask; ls /dev; id"
)


def normal(lines: list[str], bundle: Path) -> list[str]:
    """Without what must differ: the container's name in paths, inodes of namespaces."""
    out = []
    for line in lines:
        text = " ".join(line.split())
        for kind in ("mnt", "pid", "net", "ipc", "uts"):
            if text.startswith(f"{kind}:["):
                text = f"{kind}:[new]"
        out.append(text)
    return out


def run_script(house: House, tmp_path: Path, change: Any = None) -> list[str]:
    spec = house.spec(change, "sh", "-c", PROBE)
    plan = house.runtime.plan("scripted", str(house.bundle), spec=spec)
    path = tmp_path / "container.sh"
    path.write_text(script(replace(plan, id="scripted"), spec))
    done = subprocess.run(
        ["sh", str(path)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def limits(document: dict[str, Any]) -> None:
    document["linux"]["resources"]["pids"] = {"limit": 50}
    document["hostname"] = "scripted"
    document["process"]["user"]["additionalGids"] = [10, 20]


def test_the_script_makes_the_same_container(house: House, tmp_path: Path) -> None:
    ours = normal(house.sh(PROBE, limits), house.bundle)
    theirs = normal(run_script(house, tmp_path, limits), house.bundle)
    assert theirs == ours
    assert cgroups_left(house.runtime.root) == []


def test_limits_are_in_the_scripts_cgroups(house: House, tmp_path: Path) -> None:
    spec = house.spec(limits, "true")
    text = script(house.runtime.plan("k", str(house.bundle), spec=spec), spec)
    assert "pids.max" in text
    assert "devices.deny" in text
    assert text.index("pids.max") < text.index("unshare")
