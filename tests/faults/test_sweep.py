"""The parts of the sweep are all of its tests."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.faults.sweep import HERE, PARTS


def collected(*places: str) -> set[str]:
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", *places]
    done = subprocess.run(words, cwd=HERE, env={**os.environ, "MOBYSHELL_SWEEP": "all"}, check=True,
                          capture_output=True, text=True)  # fmt: skip
    return {line for line in done.stdout.splitlines() if "::" in line}


def test_no_experiment_is_forgotten() -> None:
    every = collected("tests/faults", *(one for one in PARTS if "/faults/" not in one))
    assert collected(*PARTS) == {one for one in every if "test_sweep" not in one}
