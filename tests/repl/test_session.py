"""The interactive session, over a pipe instead of a keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from mobyshell.commands.cli import Options
from mobyshell.commands.context import Context
from mobyshell.core.tasks.client import TaskClient
from mobyshell.repl.completer import VerbCompleter, stage_words
from mobyshell.repl.evaluate import Evaluator
from mobyshell.repl.session import colour, hint, interact, make_session
from tests.fakes import three_tasks


@pytest.fixture
def moby() -> Iterator[Evaluator]:
    tasks = three_tasks()
    yield Evaluator(Context(tasks=tasks), Options())
    tasks.close()


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe:
        yield pipe


def converse(moby: Evaluator, keyboard: PipeInput, typed: str) -> int:
    keyboard.send_text(typed)
    session = make_session(moby, history=InMemoryHistory(), input=keyboard, output=DummyOutput())
    return interact(moby, session)


def test_lines_run_until_ctrl_d(
    moby: Evaluator, keyboard: PipeInput, capsys: pytest.CaptureFixture[str]
) -> None:
    assert converse(moby, keyboard, "echo one\necho two\n\x04") == 0
    assert capsys.readouterr().out == "one\ntwo\n"


def test_open_quotes_and_pipes_go_on_in_the_next_line(
    moby: Evaluator, keyboard: PipeInput, capsys: pytest.CaptureFixture[str]
) -> None:
    converse(moby, keyboard, "echo 'a\nb'\ntask ls -a |\ncount\n\x04")
    assert capsys.readouterr().out == 'a\nb\n{"count":3}\n'


def test_errors_do_not_end_it_and_ctrl_c_gives_up_a_line(
    moby: Evaluator, keyboard: PipeInput, capsys: pytest.CaptureFixture[str]
) -> None:
    assert converse(moby, keyboard, "nonsense\necho half\x03echo whole\nexit 4\n") == 4
    captured = capsys.readouterr()
    assert "unknown command 'nonsense'" in captured.err
    assert captured.out == "whole\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ta", "task"), ("task ki", "kill"), ("task kill w", "web"), ("task kill web KI", "KILL"),
        ("task run --det", "--detach"), ("task ls | whe", "where"), ("echo ${_", "_}"), ("exi", "exit"),
        ("bundle new x --from bu", "busybox"), ("task ls | ass", "assert"), ("echo ${_.1.st", "status}"),
        ("task ls | where sta", "status"), ("sort -pi", "-pid"), ("task ls | each task ki", "kill"),
        ("task kill --sta", "--state"), ("--read", "--readonly"), ("task --js", "--json"),
        ("x = task kill we", "web"), ("task kill 'we", "web"),
    ],
)  # fmt: skip
def test_completion(moby: Evaluator, text: str, expected: str) -> None:
    moby.line("x = task ls -a")
    found = VerbCompleter(moby).get_completions(Document(text), CompleteEvent())
    assert expected in [one.text for one in found]


def test_completed_names_are_quoted_as_they_must_be(
    moby: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my dir" / "in it").mkdir(parents=True)
    (tmp_path / "my $1").mkdir()
    for typed, whole in (
        ("bundle plan my\\ d", "bundle plan my\\ dir/"), ("bundle plan 'my d", "bundle plan my\\ dir/"),
        ("bundle plan my\\ dir/", "bundle plan my\\ dir/in\\ it/"),
        ("bundle plan my\\ \\$", "bundle plan my\\ \\$1/"),
    ):  # fmt: skip
        (found,) = VerbCompleter(moby).get_completions(Document(typed), CompleteEvent())
        assert typed[: len(typed) + found.start_position] + found.text == whole
        assert stage_words(whole)[-1] == whole.replace("\\", "").removeprefix("bundle plan ")


def test_what_cannot_follow_is_not_offered(moby: Evaluator) -> None:
    def offered(text: str) -> set[str]:
        found = VerbCompleter(moby).get_completions(Document(text), CompleteEvent())
        return {one.text for one in found}

    assert {"task", "run", "set", "assert"} <= offered("")
    assert offered("").isdisjoint({"where", "each"})
    assert offered("task ls | ").isdisjoint({"task", "set", "echo"})
    assert "--plan" not in offered("task ls --")
    assert "--plan" in offered("task run --")


def test_colours_together_are_the_text() -> None:
    for text in ("task ls | where a='b c' # x", "  nonsense ${x} --y |! jq", "", "run first"):
        parts = colour(text)
        assert "".join(part[1] for part in parts) == text
    styles = {part[1]: part[0] for part in colour("task lx | sort")}
    assert styles["task"] == "class:noun"
    assert styles["lx"] == "class:unknown"


def test_hints_follow_the_words() -> None:
    assert hint("task kill ").startswith("task kill")
    assert "seconds until KILL" in hint("task stop x --time")
    assert "ctrl-d leaves" in hint("")
    assert len(hint("")) < 80


def test_the_prompt_says_in_which_namespace_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mobyshell.repl.session import prompt

    monkeypatch.setenv("MOBYSHELL_ROOT", str(tmp_path / "store"))
    monkeypatch.setenv("MOBYSHELL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "kept"))
    evaluator = Evaluator(Context(), Options())
    assert prompt(evaluator) == "moby> "
    evaluator.line("namespace use --create team-a")
    assert prompt(evaluator) == "moby team-a> "
    assert isinstance(evaluator.context.tasks, TaskClient)
    assert evaluator.context.tasks.namespace == "team-a"
    assert Context().namespace == "team-a"
    evaluator.context.close()
