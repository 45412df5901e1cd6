"""Which criu there is, what its check says, and what of its log is quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobyshell.core.checkpoint.criu import log, program
from mobyshell.core.errors import Unsupported

VDSO = """\
Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds
Error (criu/x.c:1): tun: no
Error (criu/x.c:1): more
"""


def executable(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match="executable file not found") as caught:
        program.find("no-such-criu")
    assert "apt install criu" in caught.value.hint


def test_one_by_its_path(tmp_path: Path) -> None:
    path = executable(tmp_path / "criu", "exit 0")
    assert program.find(path) == path
    assert program.complaint(path) == ""


def test_what_its_check_says(tmp_path: Path) -> None:
    path = executable(tmp_path / "criu", f"printf '%s' '{VDSO}' >&2; exit 1")
    assert program.complaint(path) == "vdso: Unexpected rt vDSO area bounds; more"
    assert program.complaint(executable(tmp_path / "mute", "exit 3")) == "`criu check` ends with 3"
    assert "No such file" in program.complaint(str(tmp_path / "gone"))


def test_control_characters_are_not_passed_on() -> None:
    assert program.errors_in("Error (x): a\x1b[2Jb\x07") == "a [2Jb"


def test_too_old() -> None:
    with pytest.raises(Unsupported, match=r"labels needs CRIU 3\.16, and this is 3\.15\.1"):
        program.require((3, 15, 1), (3, 16, 0), "labels")
    program.require((3, 16, 0), (3, 16, 0), "labels")


def test_excerpt(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(1, 30)]
    lines[2] = "(0.1) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: no"
    lines[19] = "(0.2) Error (criu/files.c:7): Can't dump \x1bit"
    lines[21] = "(0.3) Error (criu/cr-dump.c:9): Dumping FAILED."
    lines[16] = "(0.2) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: no"
    (tmp_path / "dump.log").write_text("\n".join(lines))
    quoted, first = log.excerpt(str(tmp_path), "dump.log")
    assert first == "Can't dump ?it"
    assert quoted[0] == "1:line 1"
    assert quoted[3:5] == ["...", "12:line 12"]
    assert quoted[-1] == "22:(0.3) Error (criu/cr-dump.c:9): Dumping FAILED."
    assert log.excerpt(str(tmp_path), "none.log") == ([], "")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("Error (x): secret")
    (tmp_path / "dump.log").symlink_to("secret")
    assert log.excerpt(str(tmp_path), "dump.log") == ([], "")
