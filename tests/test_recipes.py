"""The recipes do what their page says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from mobyshell.core.oci import warnings_of
from mobyshell.core.oci.spec import read_spec
from tests.conftest import Workplace

pytestmark = pytest.mark.root

BUNDLES = Path(__file__).parents[1] / "recipes" / "bundles"


def test_each_is_valid_and_on_the_page() -> None:
    listed = re.findall(r"\]\((.+?)\)", (BUNDLES / "README.md").read_text())
    assert sorted(listed) == sorted(path.name for path in BUNDLES.glob("*.json"))
    for name in listed:
        assert warnings_of(read_spec(BUNDLES / name)) == []


def test_limited(workplace: Workplace) -> None:
    workplace.ok("bundle", "new", "it", "--config", str(BUNDLES / "limited.json"))
    text = workplace.ok("bundle", "run", "it")
    assert text.splitlines() == [str(64 << 20), "uid=65534(nobody) gid=65534(nogroup)"]
    script = "touch /x; touch /tmp/x && echo made; grep -E 'CapBnd|NoNewPrivs' /proc/self/status"
    done = workplace.run("bundle", "run", "it", "--", "sh", "-c", script)
    assert done.stdout.split() == ["made", "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert "Read-only file system" in done.stderr


def test_host_network(workplace: Workplace) -> None:
    text = (BUNDLES / "host-network.json").read_text()
    for name in ("resolv.conf", "hosts"):  # as a machine may not have them
        (workplace.directory / name).write_text(f"# {name} of the host\n")
        text = text.replace(f'"source": "/etc/{name}"', f'"source": "{workplace.directory}/{name}"')
    (workplace.directory / "recipe.json").write_text(text)
    workplace.ok("bundle", "new", "it", "--config", "recipe.json")
    script = "readlink /proc/self/ns/net; cat /etc/resolv.conf /etc/hosts"
    assert workplace.ok("bundle", "run", "it", "--", "sh", "-c", script).splitlines() == [
        os.readlink("/proc/self/ns/net"), "# resolv.conf of the host", "# hosts of the host",
    ]  # fmt: skip


def test_a_config_that_cannot_be_one(workplace: Workplace) -> None:
    (workplace.directory / "bad.json").write_text(json.dumps({"ociVersion": "1.2.0"}))
    for name, code in (("none.json", 3), ("bad.json", 1), ("first", 1)):
        done = workplace.run("bundle", "new", "it", "--config", name)
        assert done.returncode == code, done.stderr
        assert len(done.stderr.splitlines()) <= 2
        assert not (workplace.directory / "it").exists()
