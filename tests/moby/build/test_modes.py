"""Modes in letters do what chmod(1) does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from mobyshell.moby.build.modes import changed, parse

WORDS = (
    "u+x", "a-w", "+x", "=r", "u=rwX,go=rX", "go=u", "g=u,o=g-w", "u+s", "g+s,o+t", "a=", "u-s+x", "ug+rw",
    "o=r+w-r", "a+X", "-x+X", "u=rws", "g=,o=x", "ugo=rwxst",
)  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_letters_as_chmod_reads_them(tmp_path: Path, word: str) -> None:
    file, directory = tmp_path / "file", tmp_path / "directory"
    file.touch()
    directory.mkdir()
    for mode in (0o000, 0o644, 0o755, 0o4711, 0o2750, 0o1777, 0o060):
        for path in (file, directory):
            path.chmod(mode)
            subprocess.run(["chmod", "--", word, str(path)], check=True, umask=0)
            found = path.stat().st_mode & 0o7777
            assert changed(mode, parse(word), directory=path is directory) == found, (
                oct(mode),
                path,
            )


def test_digits_are_the_mode_itself() -> None:
    assert (parse("0755"), parse("4711"), parse("7")) == (0o755, 0o4711, 7)
    assert changed(0o600, 0o755) == 0o755
    assert changed(0o600, None) == 0o600


@pytest.mark.parametrize("word", ["", "u", "u+q", "99", "77777", "u+x,", "x+u", "u=rw o=r", "u+ug"])
def test_what_is_no_mode(word: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(word)}$"):
        parse(word)
