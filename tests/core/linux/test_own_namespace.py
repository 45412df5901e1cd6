"""A program as root of a user namespace of its own; the same process all the way."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mobyshell.core.linux import subids
from mobyshell.core.linux.own_namespace import program

NOBODY = 65534


@pytest.mark.root
def test_ones_own_id_takes_no_helper() -> None:
    words = [*program([(0, NOBODY, 1)], [(0, NOBODY, 1)]), "/bin/sh", "-c",
             "echo $$; id -u; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"]  # fmt: skip
    started = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, user=NOBODY, group=NOBODY,
                               extra_groups=[], cwd="/")  # fmt: skip
    said = started.communicate(timeout=60)[0].split()
    assert started.returncode == 0
    assert said == [str(started.pid), "0", "0", str(NOBODY), "1", "0", str(NOBODY), "1", "deny"]


@pytest.mark.root
@pytest.mark.peer
def test_what_nobody_gave_is_refused_and_why_is_said() -> None:
    words = [*program([(0, NOBODY, 1), (1, 100_000, 10)], [(0, NOBODY, 1)]), "/bin/true"]
    done = subprocess.run(words, capture_output=True, text=True, user=NOBODY, group=NOBODY,
                          extra_groups=[], cwd="/", timeout=60, check=False)  # fmt: skip
    assert done.returncode == 126
    assert "newuidmap" in done.stderr


def test_ranges_follow_each_other(tmp_path: Path) -> None:
    name = subids._name(os.geteuid())
    (tmp_path / "subuid").write_text(f"{name}:1000:10\n{os.geteuid()}:5000:20\n{name}:7:0\n")
    assert subids.own_map("uid", str(tmp_path)) == [
        (0, os.geteuid(), 1), (1, 1000, 10), (11, 5000, 20),
    ]  # fmt: skip
    assert subids.own_map("gid", str(tmp_path)) == [(0, os.getegid(), 1)]
