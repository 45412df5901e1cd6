"""How the program finds its modules: compiled, but never out of date; and Python's own way behind it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.runc import finding

PATIENCE = 60.0
SCRIPT = Path(finding.__file__).parents[2] / "scripts" / "mobyshell-runc"


class Installed:
    """A program of its own, with a package in which an attempt is what a test says."""

    def __init__(self, prefix: Path) -> None:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        package = prefix / "lib" / version / "site-packages" / "mobyshell"
        self.modules = package / "runc"
        self.modules.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (self.modules / "__init__.py").write_text("")
        shutil.copy(finding.__file__, self.modules)
        self.program = prefix / "bin" / "mobyshell-runc"
        self.program.parent.mkdir()
        shutil.copy(SCRIPT, self.program)
        (prefix / "bin" / "python3").symlink_to(sys.executable)

    def write(self, name: str, text: str) -> None:
        (self.modules / f"{name}.py").write_text(text)

    def compiled(self, name: str) -> Path:
        return next((self.modules / "__pycache__").glob(f"{name}.*.pyc"))

    def call(self) -> int:
        done = subprocess.run([self.program, "state"], timeout=PATIENCE, check=False)
        return done.returncode


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    if not SCRIPT.exists():
        pytest.skip("the script is not beside the package")
    return Installed(tmp_path)


def test_a_source_is_compiled_once_and_found_so(installed: Installed) -> None:
    installed.write("quick", "def attempt(words):\n    return 3 if words == ['state'] else 1\n")
    assert installed.call() == 3
    first = installed.compiled("quick").stat()
    assert installed.compiled("finding").stat().st_size > 0
    assert installed.call() == 3
    assert installed.compiled("quick").stat().st_mtime_ns == first.st_mtime_ns


def test_what_is_out_of_date_is_not_executed(installed: Installed) -> None:
    installed.write("quick", "def attempt(words):\n    return 3\n")
    assert [installed.call(), installed.call()] == [3, 3]
    installed.write(
        "quick",
        "from mobyshell.runc.more import status\n\n\ndef attempt(words):\n    return status\n",
    )
    installed.write("more", "status = 4\n")
    assert [installed.call(), installed.call()] == [4, 4]
    installed.write("more", "status = 40 + 1\n")
    assert installed.call() == 41


@pytest.mark.parametrize("name", ["quick", "finding"])
@pytest.mark.parametrize("damage", ["another Python's", "gone"])
def test_what_is_not_usable_is_compiled_anew(installed: Installed, name: str, damage: str) -> None:
    installed.write("quick", "def attempt(words):\n    return 3\n")
    assert installed.call() == 3
    path = installed.compiled(name)
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"\0\0\r\n" + whole[4:])
    assert installed.call() == 3
    assert installed.compiled(name).read_bytes()[:4] == whole[:4]


def test_only_what_is_known_is_found() -> None:
    asked = []

    def compiled(source: str) -> None:
        asked.append(source)

    finder = finding.Finder("/nowhere", compiled)
    for name in ("mobyshell", "mobyshell.runc", "mobyshell.runc.quick", "mobyshell.core", "json",
                 "mobyshell.runc.a.b", "mobyshell.runcs"):  # fmt: skip
        assert finder.find_spec(name) is None
    places = ["__init__.py", "runc/__init__.py", "runc/quick.py"]
    assert asked == [f"/nowhere/mobyshell/{one}" for one in places]
