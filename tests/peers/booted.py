"""Directories of tests that run in a virtual machine: `check_*.py`, each test told by its name.

Every test of a directory is one of the suite's own; a directory's machine is booted once.
"""

from __future__ import annotations

import ast
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.peers import vm

# in a group of its own, as a session on such a machine: the root has none of the tests' processes
_SCRIPT = f"""
mkdir -p /sys/fs/cgroup/session/shell
echo $$ > /sys/fs/cgroup/session/shell/cgroup.procs
cd {vm.ROOT}
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONDONTWRITEBYTECODE=1 MOBYSHELL_RESULTS={vm.RESULTS}
exec {sys.executable} -m pytest -q -c tests/peers/inside/pytest.ini --rootdir . {{inside}}
"""


@dataclass(frozen=True)
class Told:
    """What came out of the machine, by the test's name."""

    outcomes: dict[str, list[dict[str, Any]]]
    outcome: vm.Outcome


def names(inside: Path) -> list[str]:
    """The tests of a directory, as they stand in their files."""
    return [
        node.name
        for path in sorted(inside.glob("check_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def run(inside: Path, directory: Path, options: str = "") -> Told:
    """Run all of them; `options` as of `vm.run`."""
    outcome = vm.run(_SCRIPT.format(inside=inside.relative_to(vm.ROOT)), directory, options)
    found: dict[str, list[dict[str, Any]]] = {}
    for line in outcome.results:
        said = json.loads(line)
        if "test" in said:
            found.setdefault(said["test"], []).append(said)
    return Told(found, outcome)


def check_all(told: Told, inside: Path) -> None:
    """That all tests have run, and no other."""
    assert told.outcomes.get("") is None, told.outcomes[""][0]["text"]
    assert list(told.outcomes) == names(inside), told.outcome.console[-4000:]
    assert json.loads(told.outcome.results[-1]).keys() == {"exit"}


def check(told: Told, name: str) -> None:
    """That one of them passed."""
    said = told.outcomes.get(name)
    assert said is not None, f"it did not run; the console:\n{told.outcome.console[-4000:]}"
    for one in said:
        assert one["outcome"] == "passed", f"{one['phase']}:\n{one['text']}"
