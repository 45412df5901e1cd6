"""Ranges of ids, and what is said to somebody who has too few."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobyshell.core.linux.subids import Range, advice, ranges

FILE = """\
somebody:100000:65536
root:200000:1000
0:300000:10
root:damaged:1
root:1
"""


@pytest.fixture
def etc(tmp_path: Path) -> str:
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text(FILE)
    return str(tmp_path)


def test_ranges_by_name_and_by_number(etc: str) -> None:
    assert ranges("uid", 0, etc) == [Range(200000, 1000), Range(300000, 10)]
    assert ranges("gid", 54321, etc) == []
    assert ranges("uid", 0, etc + "/nowhere") == []


def test_what_is_missing_is_said(etc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert advice("uid", [(200000, 1000), (300000, 10), (os.geteuid(), 1)], etc) == ""
    said = advice("uid", [(200000, 1000), (400000, 65536)], etc)
    assert said == (
        "root has 200000-200999, 300000-300009 in /etc/subuid, but 400000-465535 is asked for: "
        "as root, `usermod --add-subuids 400000-465535 root`"
    )
    assert "root has nothing in /etc/subgid" in advice("gid", [(1, 2)], etc + "/nowhere")
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert advice("uid", [(1, 2)], etc) == (
        "user 54321 has no name in /etc/passwd, which newuidmap needs"
    )
