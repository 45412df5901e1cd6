"""Changes in directories are heard of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.inotify import Watch


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
