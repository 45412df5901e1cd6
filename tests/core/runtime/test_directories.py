"""A container's directory in which somebody else keeps something, from one making to the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobyshell.core.errors import AlreadyExists
from mobyshell.core.runtime import directories
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.list import list_states
from tests.core.runtime.test_state import dead, place, sample

KEEP = ("task", "config.json")


def gone(root: Path) -> Path:
    """A container that has ended, with what is kept beside it."""
    pid, start = dead()
    path = place(root, sample(pid=pid, pid_start=start))
    (path / "task").mkdir()
    (path / "task" / "log").write_text("said")
    (path / "config.json").write_text("{}")
    (path / "exec.fifo").touch()
    (path / "rootfs").mkdir()
    return path


def test_what_is_kept_stays_when_the_container_goes_and_comes_again(tmp_path: Path) -> None:
    path = gone(tmp_path)
    assert directories.forget(path, states.read(tmp_path, "c"), keep=KEEP)
    assert sorted(os.listdir(path)) == ["config.json", "task"]
    assert directories.reserve(tmp_path, "c", KEEP) == path
    assert sorted(os.listdir(path)) == ["config.json", "creator", "task"]
    directories.forget(path, keep=KEEP)  # that try failed
    assert (path / "task" / "log").read_text() == "said"
    directories.forget(path)
    assert os.listdir(tmp_path) == []


def test_nobody_else_gets_the_id_meanwhile(tmp_path: Path) -> None:
    path = gone(tmp_path)
    directories.forget(path, states.read(tmp_path, "c"), keep=KEEP)
    with pytest.raises(AlreadyExists):
        directories.reserve(tmp_path, "c")


def test_a_container_is_not_taken_over(tmp_path: Path) -> None:
    gone(tmp_path)
    with pytest.raises(AlreadyExists):
        directories.reserve(tmp_path, "c", KEEP)
    directories.reserve(tmp_path, "fresh", KEEP)
    with pytest.raises(AlreadyExists):
        directories.reserve(tmp_path, "fresh", KEEP)


def test_a_creator_killed_in_it_loses_nothing_of_what_is_kept(tmp_path: Path) -> None:
    path = gone(tmp_path)
    directories.forget(path, states.read(tmp_path, "c"), keep=KEEP)
    pid, start = dead()
    (path / "creator").write_text(f"{pid} {start} {' '.join(KEEP)}")
    (path / "cgroups.json").write_text("{}")
    assert list_states(tmp_path) == []  # which clears away what is nobody's
    with pytest.raises(AlreadyExists):
        directories.reserve(tmp_path, "c")
    assert (path / "task" / "log").read_text() == "said"
    directories.reserve(tmp_path, "c", KEEP)
    assert sorted(os.listdir(path)) == ["config.json", "creator", "task"]
