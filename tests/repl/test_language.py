"""The REPL's language, without a prompt and without a kernel."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobyshell.commands import results as r
from mobyshell.commands.cli import Options
from mobyshell.commands.context import Context
from mobyshell.core.errors import MobyshellError, NotFound, UsageError
from mobyshell.core.tasks.service import LogLine, Status
from mobyshell.repl.each import of_each
from mobyshell.repl.evaluate import BUILTINS, Evaluator, Leave
from mobyshell.repl.parse import Unfinished, parse, statements
from mobyshell.repl.stages import FILTERS, Unexpected, expect
from tests.fakes import FakeTasks, three_tasks


def words(text: str) -> list[list[str]]:
    pipeline = parse(text)
    assert pipeline is not None
    return [[word.text for word in stage] for stage in pipeline.stages]


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("task ls", [["task", "ls"]]),
        ("  task   ls # all of them", [["task", "ls"]]),
        ("echo 'a b' \"c d\" e\\ f", [["echo", "a b", "c d", "e f"]]),
        ("task ls | where status=running | head 1",
         [["task", "ls"], ["where", "status=running"], ["head", "1"]]),
        ("echo a#b", [["echo", "a#b"]]),
        ("echo ''", [["echo", ""]]),
        ("echo 'it''s'", [["echo", "its"]]),
        ("echo a\\\n b", [["echo", "a", "b"]]),
        ("echo '${x}'", [["echo", "${x}"]]),
        ("echo \"${x}\"y", [["echo", "${x}y"]]),
        ("run first -- sh -c 'a | b'", [["run", "first", "--", "sh", "-c", "a | b"]]),
    ],
)  # fmt: skip
def test_words_and_stages(text: str, stages: list[list[str]]) -> None:
    assert words(text) == stages


def test_assignment_and_shell() -> None:
    pipeline = parse("x = task ls |! jq .id | sort")
    assert pipeline is not None
    assert (pipeline.assign, pipeline.shell) == ("x", "jq .id | sort")
    assert [[word.text for word in stage] for stage in pipeline.stages] == [["task", "ls"]]


@pytest.mark.parametrize(
    "text", ["echo 'a", 'echo "a', "echo a\\", "task ls |", "echo ${x", "ls |!"]
)
def test_unfinished(text: str) -> None:
    with pytest.raises(Unfinished):
        parse(text)


@pytest.mark.parametrize("text", ["| where a=b", "task ls | | head", "echo ${a b}", "|! cat"])
def test_wrong(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize("text", ["", "   ", "# only this", "\n\n"])
def test_nothing(text: str) -> None:
    assert parse(text) is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parse(text)
    except UsageError as error:
        assert error.message


def test_statements_know_their_lines() -> None:
    text = "echo 1\n# c\necho 'two\nlines'\ntask ls |\n  head 1\necho '"
    assert statements(text) == [
        (1, "echo 1"), (2, "# c"), (3, "echo 'two\nlines'"), (5, "task ls |\n  head 1"), (7, "echo '\n"),
    ]  # fmt: skip


ROWS: list[dict[str, Any]] = [
    {"id": "a", "n": 3, "ok": True, "in": {"x": [1, 2]}},
    {"id": "b", "n": 1, "ok": False, "in": {"x": []}},
    {"id": "c", "n": None, "ok": None, "in": None},
]


@pytest.mark.parametrize(
    ("name", "args", "ids"),
    [
        ("where", ["id=a"], ["a"]), ("where", ["id!=a"], ["b", "c"]), ("where", ["n>1"], ["a"]),
        ("where", ["n>=1", "ok=false"], ["b"]), ("where", ["id~B"], ["b"]), ("where", ["n<1K"], ["a", "b"]),
        ("where", ["in.x.1=2"], ["a"]), ("where", ["n="], ["c"]), ("sort", ["n"], ["b", "a", "c"]),
        ("sort", ["-n"], ["a", "b", "c"]), ("head", ["1"], ["a"]), ("tail", ["1"], ["c"]),
        ("head", [], ["a", "b", "c"]),
    ],
)  # fmt: skip
def test_filters(name: str, args: list[str], ids: list[str]) -> None:
    assert [row["id"] for row in FILTERS[name](ROWS, args)] == ids


def test_select_and_count() -> None:
    assert FILTERS["select"](ROWS, ["id", "in.x"])[0] == {"id": "a", "in.x": [1, 2]}
    assert FILTERS["count"](ROWS, []) == [{"count": 3}]
    assert FILTERS["count"](ROWS, ["ok"]) == [
        {"ok": "true", "count": 1}, {"ok": "false", "count": 1}, {"ok": "", "count": 1},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "args"),
    [("where", []), ("where", ["x"]), ("sort", []), ("head", ["x"]), ("select", [])],
)
def test_filters_refuse(name: str, args: list[str]) -> None:
    with pytest.raises(UsageError):
        FILTERS[name](ROWS, args)


def test_expect() -> None:
    assert expect(ROWS, ["3"]) == ROWS
    assert expect(ROWS[:1], ["id=a"]) == ROWS[:1]
    for args in (["2"], ["id=a"]):
        with pytest.raises(Unexpected):
            expect(ROWS, args)
    with pytest.raises(Unexpected):
        expect([], [])


@pytest.fixture
def tasks() -> Iterator[FakeTasks]:
    fake = three_tasks()
    yield fake
    fake.close()


@pytest.fixture
def moby(tasks: FakeTasks) -> Evaluator:
    return Evaluator(Context(tasks=tasks), Options())


def output(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_verbs_filters_and_json_lines(moby: Evaluator, capsys: pytest.CaptureFixture[str]) -> None:
    moby.line("task ls -a | where status=stopped | select id exit")
    assert [json.loads(line) for line in output(capsys)] == [{"id": "worker", "exit": 1}]


def test_variables(moby: Evaluator, capsys: pytest.CaptureFixture[str]) -> None:
    moby.line("all = task ls -a | sort id")
    assert output(capsys) == []
    moby.line("echo ${all.1.id} ${_.0.status}")
    assert output(capsys) == ["web paused"]
    moby.line("set name=x y")
    moby.line("echo '${name}' \"${name}\"")
    assert output(capsys) == ["${name} x y"]
    for bad in ("echo ${nope}", "echo ${all.9.id}", "set nonsense"):
        with pytest.raises(UsageError):
            moby.line(bad)


def test_a_value_never_becomes_two_words(moby: Evaluator, tasks: FakeTasks) -> None:
    moby.line("set id=web worker")
    with pytest.raises(MobyshellError):
        moby.line("task pause ${id}")
    assert tasks.calls == []


def test_answers_of_each_are_rows_again(moby: Evaluator, tasks: FakeTasks) -> None:
    moby.line("task ls -a | each task stats | where id=web | select id pids memory")
    assert moby.variables["_"] == [{"id": "web", "pids": 2, "memory": 3 << 20}]
    moby.line("task ls -a | each task logs | where id=web")
    assert [one["data"] for one in moby.variables["_"]] == [
        "web line 0",
        "web line 1",
        "web line 2",
    ]
    moby.line("task ls -a | each task inspect | where id=web")
    assert moby.variables["_"][0]["status"] == "running"
    moby.line("task ls | where id=web | each task pause")
    assert moby.variables["_"] == [{"id": "web", "result": "web"}]


def test_answers_of_each_about_others_say_of_whom() -> None:
    rows = r.Rows((("id", "ID", "id"), ("size", "SIZE", "bytes")), [{"id": "x", "size": 7}])
    found = of_each("id", [("a", rows), ("b", r.Text('{"id": "y"}\n')), ("c", r.Text("{no JSON"))])
    assert found.rows == [{"of": "a", "id": "x", "size": 7}, {"of": "b", "id": "y"},
                          {"of": "c", "result": "{no JSON"}]  # fmt: skip
    assert found.columns == (("of", "OF", "id"), ("id", "ID", "id"), ("size", "SIZE", "bytes"),
                             ("result", "RESULT", "text"))  # fmt: skip
    assert of_each("id", []).rows == []


def test_each(moby: Evaluator, tasks: FakeTasks) -> None:
    moby.line("task ls | where status=running | each task kill {} TERM")
    moby.line("task ls | where status=paused | each task resume")
    assert tasks.calls == [("kill", "web", 15), ("resume", "paused")]


def test_a_shell_gets_json_lines_and_gives_its_code(
    moby: Evaluator, capfd: pytest.CaptureFixture[str]
) -> None:
    assert moby.line("task ls -a |! grep -c id") == 0
    assert capfd.readouterr().out == "3\n"
    assert moby.line("task ls |! exit 7") == 7


def test_exit_code_of_a_verb_is_the_lines(moby: Evaluator, tasks: FakeTasks) -> None:
    tasks.add("done", Status.STOPPED, exit_status=9)
    assert moby.line("task wait done") == 9
    with pytest.raises(Leave) as caught:
        moby.line("exit")
    assert caught.value.code == 9
    with pytest.raises(Leave) as caught:
        moby.line("exit 3")
    assert caught.value.code == 3


def test_errors_pass_through(moby: Evaluator) -> None:
    with pytest.raises(NotFound):
        moby.line("task inspect nobody")
    with pytest.raises(UsageError):
        moby.line("task ls | task ls")
    with pytest.raises(UsageError):
        moby.line("nonsense")


def test_a_scripts_first_failure_ends_it(
    tasks: FakeTasks, capsys: pytest.CaptureFixture[str]
) -> None:
    from mobyshell.repl.main import run

    context = Context(tasks=tasks)
    assert run(context, ["-c", "echo a", "-c", "task ps nobody", "-c", "echo b"], Options()) == 3
    captured = capsys.readouterr()
    assert captured.out == "a\n"
    assert "does not exist" in captured.err
    assert run(context, ["-k", "-c", "task ps nobody", "-c", "echo b"], Options()) == 3
    assert capsys.readouterr().out == "b\n"
    with pytest.raises(UsageError):
        run(context, ["--nonsense"], Options())


def test_an_assert_that_fails_names_file_line_and_value(
    tasks: FakeTasks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mobyshell.repl.main import run

    script = tmp_path / "check.moby"
    script.write_text(
        "# three tasks\ntask ls -a | assert 3\n"
        "t = task ls -a | where id=worker\nassert ${t.0.exit} = 1\nassert ${t.0.exit} < 2\n"
        "\ntask ls -a | assert status=running exit!=7\necho never\n"
    )
    assert run(Context(tasks=tasks), [str(script)], Options()) == 1
    captured = capsys.readouterr()
    assert "never" not in captured.out
    assert captured.err.splitlines() == [
        f"{script}:7: task ls -a | assert status=running exit!=7",
        "mobyshell: expected status=running, and status is 'paused' in row 2 of 3 (paused)",
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("assert 1 = 2", "expected '1' = '2'"), ("assert ab ~ c", "expected 'ab' ~ 'c'"),
        ("assert 3 > 2 # yes", ""), ("assert web == web", ""), ("assert 64M >= 1K", ""),
        ("task ls -a | assert 2", "expected 2 rows, and there are 3"),
        ("task ls | where id=none | assert", "there is nothing"),
        ("task ls | where id=none | assert id=x", "there is nothing"),
        ("task ls | where id=web | expect exit=1", "exit is nothing"),
    ],
)  # fmt: skip
def test_assert(moby: Evaluator, line: str, told: str) -> None:
    if not told:
        assert moby.line(line) == 0
        return
    with pytest.raises(Unexpected, match=re.escape(told)):
        moby.line(line)


@pytest.mark.parametrize(
    "line",
    ["exit x", "exit 256", "exit 1 2", f"exit {'9' * 5000}", f"task ls | head {'9' * 5000}",
     "task ls | where pid>x", "task ls | assert \x1b[31m", f"echo ${{_.{'9' * 5000}}}"],
)  # fmt: skip
def test_words_that_are_off_are_told_so(moby: Evaluator, line: str) -> None:
    moby.line("task ls")
    with pytest.raises(UsageError) as caught:
        moby.line(line)
    assert str(caught.value).isprintable()


def test_readonly_is_refused_in_the_repl(tasks: FakeTasks) -> None:
    from mobyshell.repl.main import run

    context = Context(tasks=tasks, readonly=True)
    assert run(context, ["-c", "task kill web"], Options()) == 5
    assert run(context, ["-c", "task ls | each task kill"], Options()) == 5
    assert tasks.calls == []


def test_what_comes_one_by_one_is_shown_and_remembered(
    moby: Evaluator, capfd: pytest.CaptureFixture[str]
) -> None:
    assert moby.line("logs web") == 0
    assert capfd.readouterr().out.splitlines() == ["web line 0", "web line 1", "web line 2"]
    moby.line("echo ${_.2.data}")
    moby.line("x = logs web")
    moby.line("echo ${x.0.data}")
    moby.line("logs web | where data~1 | count")
    assert capfd.readouterr().out.splitlines() == ["web line 2", "web line 0", '{"count":1}']
    assert moby.line("logs web |! wc -l") == 0
    assert capfd.readouterr().out.strip() == "3"


def test_a_stream_without_end_goes_to_a_command_as_it_comes(
    moby: Evaluator,
    tasks: FakeTasks,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def endless(id: str, **_: object) -> Iterator[LogLine]:
        while True:
            yield LogLine(1, "stdout", False, b"more")

    monkeypatch.setattr(tasks, "logs", endless)
    assert moby.line("logs -f web |! head -n 2") == 0
    assert len(capfd.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("echo 'a", "a quote is not closed (column 6)"), ("task ls | | x", "before | (column 11)"),
        ('echo "a ${b', "${ is not closed (column 9)"), ("echo a\\", "backslash (column 7)"),
        ("echo 'a\nb' ${ }", "not the name of a variable: ' ' (line 2, column 4)"),
        ('echo a\necho "b', "a quote is not closed (line 2, column 6)"),
    ],
)  # fmt: skip
def test_errors_of_the_language_say_where(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        parse(text)


def test_help_explains_every_word(moby: Evaluator, capsys: pytest.CaptureFixture[str]) -> None:
    moby.line("help")
    page = capsys.readouterr().out
    assert "${_}" in page
    for word in BUILTINS:
        moby.line(f"help {word}")
        assert capsys.readouterr().out.startswith("usage: ")
    for word in ("help", "?"):
        moby.line(f"{word} task kill")
        assert "usage: mobyshell task kill" in capsys.readouterr().out


def test_the_name_of_a_variable_is_no_command(moby: Evaluator) -> None:
    moby.line("x = task ls -a")
    with pytest.raises(UsageError, match="x is a variable") as told:
        moby.line("x")
    assert told.value.hint == "echo ${x}"


def test_ids_are_sorted_as_people_count(moby: Evaluator, tasks: FakeTasks) -> None:
    for number in (10, 9, 1):
        tasks.add(f"task{number}")
    moby.line("task ls | where id~task | sort -id")
    assert [row["id"] for row in moby.variables["_"]] == ["task10", "task9", "task1"]
