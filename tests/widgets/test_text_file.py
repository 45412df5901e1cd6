"""Files that are edited: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidSpec, SyscallFailed
from mobyshell.widgets.text_file import NO_FILE, read, save, stamp


def test_a_link_stays_a_link_and_the_mode_stays(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    written = save(str(tmp_path / "link"), "new\r\nlines")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new\r\nlines"
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
    assert stamp(str(tmp_path / "link")) == written
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    with pytest.raises(SyscallFailed, match="saving"):
        save(str(tmp_path / "there"), "text")
    with pytest.raises(SyscallFailed, match="saving"):
        save(str(tmp_path / "no" / "file"), "text")
    assert os.listdir(tmp_path) == ["there"]


def test_what_an_editor_would_spoil_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidSpec, match="not UTF-8"):
        read(str(path))
    path.write_bytes(b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(InvalidSpec, match="larger"):
        read(str(path))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidSpec, match="not a regular file"):
        read(str(tmp_path / "fifo"))
    with pytest.raises(SyscallFailed):
        read(str(tmp_path / "none"))
    assert stamp(str(tmp_path / "none")) == NO_FILE


def test_another_content_is_another_stamp(tmp_path: Path) -> None:
    path = str(tmp_path / "x")
    first = save(path, "a")
    assert read(path) == ("a", first)
    assert save(path, "b") != first
