"""The runtime on a kernel with cgroup v2 alone: each test of tests/peers/inside, run in a virtual machine.

The machine is booted once, before the first of them.
"""

from __future__ import annotations

import ast
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.peers import vm

pytestmark = [pytest.mark.root, pytest.mark.peer]

INSIDE = Path(__file__).parent / "inside"
# in a group of its own, as a session on such a machine: the root has none of the tests' processes
SCRIPT = f"""
mkdir -p /sys/fs/cgroup/session/shell
echo $$ > /sys/fs/cgroup/session/shell/cgroup.procs
cd {vm.ROOT}
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONDONTWRITEBYTECODE=1 MOBYSHELL_RESULTS={vm.RESULTS}
exec {sys.executable} -m pytest -q -c tests/peers/inside/pytest.ini --rootdir . tests/peers/inside
"""


def names() -> list[str]:
    """The tests inside, as they stand in their files."""
    return [
        node.name
        for path in sorted(INSIDE.glob("check_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@dataclass(frozen=True)
class Told:
    """What came out of the machine, by the test's name."""

    outcomes: dict[str, list[dict[str, Any]]]
    outcome: vm.Outcome


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    outcome = vm.run(SCRIPT, tmp_path_factory.mktemp("vm"))
    found: dict[str, list[dict[str, Any]]] = {}
    for line in outcome.results:
        said = json.loads(line)
        if "test" in said:
            found.setdefault(said["test"], []).append(said)
    return Told(found, outcome)


def test_the_machine_ran_all_tests_and_no_other(told: Told) -> None:
    assert told.outcomes.get("") is None, told.outcomes[""][0]["text"]
    assert list(told.outcomes) == names(), told.outcome.console[-4000:]
    assert json.loads(told.outcome.results[-1]).keys() == {"exit"}


@pytest.mark.parametrize("name", names())
def test_inside(told: Told, name: str) -> None:
    said = told.outcomes.get(name)
    assert said is not None, f"it did not run; the console:\n{told.outcome.console[-4000:]}"
    for one in said:
        assert one["outcome"] == "passed", f"{one['phase']}:\n{one['text']}"
