"""docs/snapshots.md: what is done there by hand is done here, and answers the same."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Workplace

pytestmark = pytest.mark.root

PAGE = Path(__file__).parents[2] / "docs" / "snapshots.md"


def steps() -> list[tuple[str, list[str]]]:
    """(a line after `$ ` or `# `, what it answers) of the section, in order."""
    section = PAGE.read_text().split("## A tree of our own")[1].split("\n## ")[0]
    found: list[tuple[str, list[str]]] = []
    for line in section.splitlines():
        text = line.removeprefix("    ")
        if text == line or not text:
            continue
        if text.startswith(("$ ", "# ")):
            found.append((text, []))
        else:
            found[-1][1].append(text)
    return found


def alike(text: str, place: str) -> str:
    """Without what differs between machines: where the store lies, sizes, columns, dates, and how
    many names a whiteout has."""
    text = re.sub(r"^([-c]\S{9} +)\d+ ", r"\1N ", text)
    text = text.replace(place, "…")
    text = re.sub(r"\b\d+(\.\d)?[BKM]\b", "SIZE", text)
    text = re.sub(r"\b[A-Z][a-z]{2} +\d+ \d\d:\d\d ", "", text)
    return re.sub(r" +", " ", text).strip()


def test_the_page_is_true(workplace: Workplace) -> None:
    place = f"{workplace.environment['MOBYSHELL_ROOT']}/snapshots/overlayfs"
    (workplace.directory / "mnt").mkdir()
    script: list[str] = []
    for line, expected in steps():
        command = line[2:].replace("…", place)
        if line.startswith("# ") and not command.startswith("ls"):
            script.append(command)
            if command.startswith("umount"):
                subprocess.run(["unshare", "-m", "sh", "-ec", "\n".join(script)], check=True,
                               cwd=workplace.directory)  # fmt: skip
                script = []
            else:
                assert expected == []
            continue
        if command.startswith("mobyshell "):
            words = command.split()[1:]
            done = workplace.run(*words, "--table")
            said = done.stdout + done.stderr
        else:
            said = subprocess.run(["sh", "-c", command], capture_output=True, text=True,
                                  cwd=workplace.directory, check=True,
                                  env={**os.environ, "LC_ALL": "C"}).stdout  # fmt: skip
            said = said.partition("\n")[2]  # the total
        if expected:
            found = [alike(one, place) for one in said.splitlines()]
            assert found == [alike(one, place) for one in expected], line
    assert script == []
