"""What tests of the faces share: a state root, a bundle, and the program itself."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.tasks.client import TaskClient

# a machine may be as slow as it likes; and where the tests are run from is nobody's to write to
settings.register_profile("suite", deadline=None, database=None)
settings.load_profile("suite")

# what is started in the background, or by nohup, ignores these, and so would the programs that are
# interrupted here: a handler goes with execve(2), and does as little until then
for _one in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_one) is signal.SIG_IGN:
        signal.signal(_one, lambda *_: None)

# thousands of tests and all that they import are many objects, looked through again and again: a third
# of the processor's time of some tests, and of the collection's
gc.set_threshold(10_000, 10, 10)

LONG = (
    "tests/peers/test_cgroup_v2.py", "tests/faults/", "tests/bench/",
    "tests/core/store/test_killed.py", "tests/core/store/test_races.py",
    "tests/commands/test_ns.py", "tests/commands/test_debug.py", "tests/peers/",
)  # fmt: skip
"""Few tests that take long: if one of these files is begun last, all other workers wait for it."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order in which xdist's workers take files: LONG ones, then by how many tests they have."""
    if not hasattr(config, "workerinput"):
        return
    count = Counter(one.location[0] for one in items)

    def turn(one: pytest.Item) -> tuple[int, int]:
        file = one.location[0]
        rank = next((i for i, long in enumerate(LONG) if file.startswith(long)), len(LONG))
        return rank, -count[file]

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """What is loaded now stays: no collection of garbage need look at it."""
    gc.collect()
    gc.freeze()


PROGRAM = str(Path(sys.executable).parent / "mobyshell")


@pytest.fixture(scope="module", autouse=True)
def nothing_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test keeps without saying where is neither the user's nor the next file's: a store, the
    namespace that one is in."""
    place = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOBYSHELL_ROOT", str(place / "store"))
        patch.setenv("XDG_STATE_HOME", str(place / "state"))
        yield


class Workplace:
    """A directory to work in, with a bundle `first`, and a state root of its own."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory, self.environment = directory, environment
        self.state = Path(environment["MOBYSHELL_STATE"])

    def run(
        self, *words: str, input: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run `mobyshell` with these words, not at a terminal."""
        return subprocess.run(
            [PROGRAM, *words], cwd=self.directory, env=self.environment, input=input,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def ok(self, *words: str) -> str:
        """Its output; it must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout


def left_over(state: Path) -> list[str]:
    """Command lines of processes that belong to a state root."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(state) in words:
                found.append(f"{entry} {words}")
    return found


@pytest.fixture(scope="session")
def first_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A busybox bundle to copy."""
    return new_bundle(tmp_path_factory.mktemp("material") / "first")


@pytest.fixture
def workplace(tmp_path: Path, first_bundle: Path) -> Iterator[Workplace]:
    """A place of one's own; afterwards no process of it may be left."""
    shutil.copytree(first_bundle, tmp_path / "first", symlinks=True)
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ, "MOBYSHELL_STATE": str(tmp_path / "state"), "HOME": str(home),
        "MOBYSHELL_ROOT": str(tmp_path / "store"),
        "MOBYSHELL_LINGER": "0.2",
        "XDG_CONFIG_HOME": str(home / "config"), "XDG_STATE_HOME": str(home / "state"),
    }  # fmt: skip
    environment.pop("MOBYSHELL_NAMESPACE", None)
    place = Workplace(tmp_path, environment)
    try:
        yield place
    finally:
        if place.state.exists():
            with TaskClient(place.state) as tasks:
                for task in tasks.ls():
                    tasks.delete(task.id, force=True)
        deadline = time.monotonic() + 60
        while left_over(place.state):
            if time.monotonic() > deadline:
                left = left_over(place.state)
                for line in left:
                    os.kill(int(line.split()[0]), signal.SIGKILL)
                raise AssertionError(f"still there: {left}")
            time.sleep(0.05)
