"""Words that mean more than they say: what a spec, or an image, names or is full of.

CVE-2022-0811 (a value with further settings in it), CVE-2021-43784 (a length that does not fit).
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.conftest import Attack

pytestmark = pytest.mark.root

PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/bin/evil #"),
        ("kernel.shm_rmid_forced+kernel.core_pattern", "|/bin/evil"),
        ("kernel.shm_rmid_forced=1 kernel.core_pattern", "|/bin/evil"),
        ("kernel.core_pattern", "|/bin/evil"),
        ("net/../kernel/core_pattern", "|/bin/evil"),
        ("net.ipv4/../../kernel.core_pattern", "|/bin/evil"),
        ("fs.mqueue.../kernel/core_pattern", "|/bin/evil"),
        ("/kernel/core_pattern", "|/bin/evil"),
    ],
)
def test_one_sysctl_is_another(attack: Attack, name: str, value: str) -> None:
    """The host's core_pattern names a program that the host runs as root: a sysctl of the container
    is to carry it along, or to lead there. Success: it has changed, or the container starts."""
    before = PATTERN.read_text()
    done = attack.run("true", lambda document: document["linux"].update(sysctl={name: value}))
    assert PATTERN.read_text() == before
    assert done.status == -1
    assert "sysctl" in done.errors


def test_two_megabytes_of_annotations(attack: Attack) -> None:
    """What is handed to the child is longer than a length field of 16 bits: what follows it, such as
    the id mappings, is then the attacker's to say. Success: others than those of the spec hold."""
    mapping = {"containerID": 0, "hostID": 100000, "size": 7}
    subprocess.run(["chown", "-hR", "100000:100000", str(attack.image)], check=True)

    def change(document: dict[str, Any]) -> None:
        document["annotations"] = {"long": "x" * (2 << 20), "y" * 70000: "0 0 4294967295"}
        document["linux"]["namespaces"].append({"type": "user"})
        document["linux"]["uidMappings"] = document["linux"]["gidMappings"] = [mapping]

    done = attack.run("cat /proc/self/uid_map /proc/self/gid_map", change)
    assert done.output.split() == ["0", "100000", "7"] * 2, done.errors
