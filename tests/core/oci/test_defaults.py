"""The default spec is runc's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mobyshell.core.oci import default_spec, dump_spec, parse_spec, warnings_of


@pytest.mark.peer
@pytest.mark.parametrize("options", [[], ["--rootless"]], ids=["default", "rootless"])
def test_it_is_what_runc_writes(tmp_path: Path, options: list[str]) -> None:
    """To the byte, but for the version: runc names its own (1.0.2-dev in 1.1.5), we ours."""
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert runc is not None, "apt install runc"
    subprocess.run([runc, "spec", *options], cwd=tmp_path, check=True)
    theirs = (tmp_path / "config.json").read_text()
    ours = dump_spec(default_spec(rootless=bool(options)))
    version = json.loads(theirs)["ociVersion"]
    assert ours == theirs.replace(f'"ociVersion": "{version}"', '"ociVersion": "1.2.0"')


@pytest.mark.parametrize("rootless", [False, True])
def test_it_is_valid(rootless: bool) -> None:
    spec = default_spec(rootless)
    assert parse_spec(dump_spec(spec)) == spec
    # runc's own default asks for ambient capabilities that are not inheritable
    assert {one.path.rpartition("[")[0] for one in warnings_of(spec)} == {
        "process.capabilities.ambient"
    }


def test_rootless_maps_the_caller() -> None:
    linux = default_spec(rootless=True).linux
    assert linux is not None
    assert linux.uid_mappings is not None
    assert linux.gid_mappings is not None
    assert [one.host_id for one in linux.uid_mappings] == [os.geteuid()]
    assert [one.host_id for one in linux.gid_mappings] == [os.getegid()]


def test_rootless_maps_another() -> None:
    linux = default_spec(rootless=True, uid=1000, gid=1001).linux
    assert linux is not None
    assert linux.uid_mappings is not None
    assert linux.gid_mappings is not None
    mappings = [*linux.uid_mappings, *linux.gid_mappings]
    assert [(one.container_id, one.host_id, one.size) for one in mappings] == [
        (0, 1000, 1), (0, 1001, 1),
    ]  # fmt: skip


def test_rootless_asks_for_nothing_that_needs_root() -> None:
    spec = default_spec(rootless=True)
    assert spec.linux is not None
    assert spec.linux.resources is None
    assert "network" not in {one.type for one in spec.linux.namespaces or ()}
    assert spec.mounts
    for one in spec.mounts:
        assert not any(word.startswith(("gid=", "uid=")) for word in one.options or ())
