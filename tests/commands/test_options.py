"""The options that every verb takes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.commands.cli import Options, call, run, show
from mobyshell.commands.context import Context
from mobyshell.core.errors import Refused, UsageError
from mobyshell.core.runtime.bundle import new_bundle
from tests.fakes import FakeTasks


class Person(io.StringIO):
    """Somebody at a keyboard."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return new_bundle(tmp_path / "scratch", "host:true")


def remove(yes: bool = False, interactive: bool = True) -> None:
    tasks = FakeTasks()
    try:
        context = Context(tasks=tasks, yes=yes, interactive=interactive)
        call(context, ["bundle", "rm", "scratch"])
    finally:
        tasks.close()


def test_a_person_is_asked_before_files_are_deleted(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for answer in ("n\n", "\n", "", "yeah\n"):
        monkeypatch.setattr("sys.stdin", Person(answer))
        with pytest.raises(Refused, match="is not confirmed"):
            remove()
        assert "bundle rm scratch: delete the directory" in capsys.readouterr().err
    assert scratch.exists()
    monkeypatch.setattr("sys.stdin", Person("y\n"))
    remove()
    assert not scratch.exists()


@pytest.mark.parametrize(("yes", "interactive"), [(True, True), (False, False)])
def test_nobody_is_asked(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, yes: bool, interactive: bool
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    remove(yes, interactive)
    assert not scratch.exists()


def test_yes_and_root_are_global(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBYSHELL_ROOT", "/from/environment")
    options = Options()
    assert options.take(["task", "--yes", "ls", "--root=/srv/store", "-a"]) == ["task", "ls", "-a"]
    assert (options.yes, Context.of(options).root) == (True, "/srv/store")
    assert Context.of(Options()).root == "/from/environment"
    monkeypatch.delenv("MOBYSHELL_ROOT")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    wanted = "/var/lib/mobyshell" if os.geteuid() == 0 else "/data/mobyshell"
    assert Context.of(Options()).root == wanted


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("run IMAGE ls --help", 0),
        ("container run --rm -it IMAGE ls -q --json", 0),
        ("run --rm IMAGE --json ls -q", 1),
        ("run --name one IMAGE ls -q", 0),
        ("run -e A=1 -p 80:80 IMAGE ls --yes", 0),
        ("run IMAGE --name one ls --yes", 0),
        ("run -dp 80:80 IMAGE ls -q", 0),
        ("task run BUNDLE ls -h", 0),
        ("bundle plan --json BUNDLE ls --json", 1),
        ("exec -it ID ls -q", 0),
        ("task exec -w / ID -q", 0),
        ("ns enter -t net ID ls --json", 0),
        ("ns enter --json ID ls --json", 1),
        ("task ls -q", 1),
        ("task inspect ID --json", 1),
        ("image ls --json FILTER -q", 2),
    ],
)
def test_what_a_command_inside_is_given_is_that_commands(words: str, ours: int) -> None:
    given = words.split()
    assert len(given) - len(Options().take(given)) == ours


@pytest.mark.parametrize("option", ["--root", "--state", "--namespace"])
def test_an_option_without_its_value(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([option], [f"{option}="], [option, ""], [f"{option}=a\0b"]):
        assert run(["version", *words]) == 2
        assert f"{option} needs a value" in capsys.readouterr().err


def test_doctor_says_where_things_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(["doctor", "--all", "--json", "--state", str(tmp_path / "s"), "--root",
                str(tmp_path / "file" / "store")]) == 0  # fmt: skip
    found = {row["feature"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert found["state of running tasks"]["detail"] == str(tmp_path / "s")
    assert found["state of running tasks"]["ok"]
    assert not found["store of what is kept"]["ok"]
    assert "--root" in found["store of what is kept"]["remedy"]


def test_events_that_were(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = FakeTasks()
    for number in range(12):
        tasks.add(f"task{number}")
    context = Context(tasks=tasks)
    options = Options()
    for words, ids in (
        (["-n", "3"], ["task9", "task10", "task11"]), ([], [f"task{n}" for n in range(12)]),
        (["--id", "task4"], ["task4"]), (["--topic", "/no"], []), (["-n", "100"], list(tasks.tasks)),
        (["-n", "0"], []), (["--filter", "id==task3", "--filter", "id~=11$"], ["task3", "task11"]),
        (["-A", "--filter", "namespace==default,event.pid==1", "-n", "1"], ["task11"]),
    ):  # fmt: skip
        show(call(context, ["events", "ls", *words]), options)
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["id"] for row in rows] == ids, words
        assert all(row["topic"] == "/tasks/start" for row in rows)
    with pytest.raises(UsageError, match="character 6: expected"):
        call(context, ["events", "ls", "--filter", "topic=x"])
    tasks.close()


def test_a_standard_stream_may_be_closed(tmp_path: Path) -> None:
    environment = {**os.environ, "MOBYSHELL_STATE": str(tmp_path / "state")}
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        line = f'"$1" -m mobyshell version {closed}'
        done = subprocess.run(["sh", "-c", line, "sh", sys.executable], capture_output=True,
                              text=True, env=environment, check=False)  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), closed
        assert ("runtime-spec" in done.stdout) == (">&-" not in closed.split())


def test_a_full_disk_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "mobyshell", "bundle", "spec"], stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "mobyshell: No space left on device\n")


def test_the_repl_has_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "repl"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("usage: mobyshell repl")
    assert run(["repl", "--help"]) == 0
    assert capsys.readouterr().out == page
