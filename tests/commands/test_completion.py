"""The completion scripts, loaded by the shells they are for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mobyshell.commands.completion import SCRIPTS, complete
from mobyshell.commands.context import Context
from tests.conftest import PROGRAM, Workplace
from tests.fakes import three_tasks

pytestmark = pytest.mark.peer


def ask(workplace: Workplace, shell: str, script: str) -> list[str]:
    program = shutil.which(shell)
    assert program is not None, f"apt install {shell}"
    (workplace.directory / f"c.{shell}").write_text(workplace.ok("completion", shell))
    environment = {**workplace.environment}
    environment["PATH"] = f"{Path(PROGRAM).parent}:{environment['PATH']}"
    done = subprocess.run([program, "-c", script], cwd=workplace.directory, env=environment,
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash(workplace: Workplace) -> None:
    script = ('source ./c.bash; COMP_WORDS=(mobyshell task re); COMP_CWORD=2; _mobyshell;'
              'echo "${COMPREPLY[@]}"; COMP_WORDS=(mobyshell bundle plan ""); COMP_CWORD=3; _mobyshell;'
              'echo "${COMPREPLY[@]}"; complete -p mobyshell')  # fmt: skip
    found = ask(workplace, "bash", script)
    assert found[0] == "resume"
    assert "first" in found
    assert "_mobyshell" in found


def test_fish(workplace: Workplace) -> None:
    assert "resume" in ask(workplace, "fish", 'source ./c.fish; complete -C "mobyshell task re"')
    assert "first" in ask(
        workplace, "fish", 'source ./c.fish; complete -C "mobyshell bundle plan f"'
    )


def test_zsh(workplace: Workplace) -> None:
    # the widgets of completion exist only at a prompt: what they would be given is what counts
    script = ('compdef() { :; }; compadd() { print -l -- ${(P)argv[-1]}; }; _files() { print files; };'
              "source ./c.zsh; words=(mobyshell task re); CURRENT=3; _mobyshell")  # fmt: skip
    assert ask(workplace, "zsh", script) == ["resume"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ta"], ["task"]), (["task", "kill", "w"], ["web", "worker"]),
        (["task", "kill", "web", "K"], ["KILL"]),
        (["bundle", "new", "x", "--from", "h"], ["host:"]),
        (["--re"], ["--readonly"]), (["--readonly", "task", "kil"], ["kill"]),
        (["--namespace", "x", "tas"], ["task"]), (["task", "kill", "--ye"], ["--yes"]),
        (["help", "ru"], ["run"]), (["repl", "--k"], ["--keep-going"]), (["events", "l"], ["ls"]),
        (["task", "run", "--na"], ["--name", "--namespace"]),
        (["exec", "web", "--", "l"], []), (["nonsense", "x"], []), (["ns", "ls", "-t", "u"], ["user", "uts"]),
        (["logs", ""], ["web", "paused", "worker"]), (["help", "ta"], ["task"]),
    ],
)  # fmt: skip
def test_words(words: list[str], expected: list[str]) -> None:
    tasks = three_tasks()
    try:
        assert complete(Context(tasks=tasks), words) == expected
    finally:
        tasks.close()


def test_there_is_one_for_each_shell() -> None:
    assert set(SCRIPTS) == {"bash", "zsh", "fish"}
