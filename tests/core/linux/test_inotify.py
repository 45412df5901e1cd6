"""Changes in directories are heard of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.inotify import Modified, Watch


def test_what_is_written_made_and_renamed_into_it_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    (tmp_path / "beside").mkdir()
    with Watch(str(tmp_path)) as watch:
        assert not watch.wait(0)
        for change in (
            lambda: file.write_text("x"),
            lambda: (tmp_path / "new").touch(),
            lambda: os.rename(tmp_path / "beside", tmp_path / "renamed"),
        ):
            change()
            assert watch.wait(60)
            assert not watch.wait(0)  # all that was told is read


def test_what_is_not_there_yet_is_watched_later(tmp_path: Path) -> None:
    place = tmp_path / "later"
    with Watch() as watch:
        assert not watch.add(str(place))
        place.mkdir()
        assert watch.add(str(place))
        assert watch.add(str(place))
        place.rmdir()
        assert watch.wait(60)


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SyscallFailed, match="inotify_add_watch"):
        Watch(str(tmp_path), str(tmp_path / ("x" * 300)))
    watch = Watch(str(tmp_path))
    watch.close()
    watch.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_files_say_that_they_are_modified(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("one", "two")]
    for path in paths:
        Path(path).touch()
    modified = Modified()
    try:
        numbers = [modified.add(path) for path in paths]
        assert modified.read() == set()
        for path in paths:
            Path(path).write_text("x")
        assert modified.read() == set(paths)
        assert modified.read() == set()
        modified.drop(numbers[0])
        modified.drop(numbers[0])
        for path in paths:
            Path(path).write_text("xy")
        assert modified.read() == {paths[1]}
        with pytest.raises(SyscallFailed):
            modified.add(str(tmp_path / "none"))
    finally:
        os.close(modified.fd)
