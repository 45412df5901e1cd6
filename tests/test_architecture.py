"""What the static import contracts cannot see: imports at run time, sizes, docstrings."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mobyshell"
FILES = sorted(PACKAGE.rglob("*.py"))
USER_INTERFACE = ("textual", "rich", "prompt_toolkit", "pyte", "tree_sitter")


def module_name(file: Path) -> str:
    relative = file.relative_to(PACKAGE.parent).with_suffix("")
    parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
    return ".".join(parts)


def test_core_bench_and_verbs_load_no_user_interface() -> None:
    """Deferred imports at module level of a dependency escape the linter; `sys.modules` does not."""
    names = [
        module_name(file)
        for file in FILES
        if file.relative_to(PACKAGE).parts[0] in ("core", "bench", "commands")
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {USER_INTERFACE!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_repl_loads_no_textual() -> None:
    """The REPL and the TUI must never share a terminal, so they never share a process either."""
    names = [module_name(file) for file in FILES if file.relative_to(PACKAGE).parts[0] == "repl"]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print('textual' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("file", FILES, ids=lambda file: module_name(file))
def test_every_module_can_be_read_in_one_sitting(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 450, "past 400 lines a module wants to be two"
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "a module says what it owns"


def test_modules_are_small_on_the_whole() -> None:
    sizes = sorted(file.read_text().count("\n") for file in FILES if file.name != "__init__.py")
    assert sizes[len(sizes) // 2] <= 200


def test_a_container_brings_nothing_that_only_bundles_are_made_with() -> None:
    """`mobyshell-runc create` and the shim start without what reads archives, programs, digests."""
    program = "import sys, mobyshell.runc.create, mobyshell.core.tasks.shim; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = {"tarfile", "hashlib", "_hashlib", "locale", "mobyshell.core.runtime.bundle.new"}
    assert heavy & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    "words", ["image ls", "container ls", "lease ls", "content ls", "store gc"]
)
def test_a_verb_on_the_store_does_not_load_dataclasses(tmp_path: Path, words: str) -> None:
    """With them come `inspect`, `ast` and `tokenize`: a tenth of the time that it takes."""
    code = (
        "import sys\n"
        "from mobyshell.commands.cli import run\n"
        f"status = run({['--root', str(tmp_path), '--state', str(tmp_path), *words.split()]!r})\n"
        "print(status, 'dataclasses' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "0 False"
