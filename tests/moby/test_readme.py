"""The README's examples, word for word but for where their image comes from."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.moby.client import Moby
from tests.core.registry.distribution import distribution
from tests.moby.test_client import put_image
from tests.undertaker import subreaper

pytestmark = [pytest.mark.root, pytest.mark.peer]

README = Path(__file__).parents[2] / "README.md"
NAME = "docker.io/library/redis:alpine"
SERVER = "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.1; done"


WORDS = {
    0: ["ready", "saved", "redis-server exited with 0"],
    1: [f"0 b'{number}\\n'" for number in range(3)],
}


def example(number: int) -> str:
    found: list[str] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return found[number]


@pytest.mark.parametrize("number", WORDS)
def test_it_has_at_most_25_lines(number: int) -> None:
    assert NAME in example(number)
    assert len(example(number).splitlines()) <= 25


@pytest.mark.parametrize("number", WORDS)
def test_it_runs(number: int, tmp_path: Path) -> None:
    root, state = tmp_path / "root", tmp_path / "state"
    with subreaper(), distribution() as registry:
        name = f"{registry.host}/library/redis:alpine"
        with Moby(tmp_path / "publisher", state, "publisher") as moby:
            put_image(moby, NAME, Cmd=["sh", "-c", SERVER])
            moby.push(NAME, name)
        done = subprocess.run(
            [sys.executable, "-c", example(number).replace(NAME, name)], capture_output=True, text=True,
            timeout=120, check=False,
            env={**os.environ, "MOBYSHELL_ROOT": str(root), "MOBYSHELL_STATE": str(state)},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == WORDS[number]
        with Moby(root, state, "example") as moby:
            assert moby.containers() == []
            assert [one.kind for one in moby.tenant.snapshotter().walk()] == ["committed"]
