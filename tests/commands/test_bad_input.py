"""Whatever word a stranger gives to whatever argument of whatever verb: an exit code that is
documented, one line of error with a hint, no traceback, and nothing that a terminal would obey.

Made from the verb table, in process; tasks are fakes, bundles are real.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mobyshell.commands import registry as r
from mobyshell.commands.cli import run
from mobyshell.commands.context import Context
from mobyshell.commands.registry import Parameter, Verb, all_verbs
from mobyshell.core.errors import ExitCode, Unsupported, UsageError
from mobyshell.core.events import Event
from mobyshell.core.registry.values import Limits
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.tasks.service import Status
from tests.fakes import FakeAttachment, FakeTasks

CODES = frozenset(int(code) for code in ExitCode)

HOSTILE = {
    "empty": "", "space": " ", "dot": ".", "dots": "..", "up": "../../../etc/passwd",
    "root": "/", "slashes": "//" * 50, "long": "a" * 300, "very-long": "a" * 70_000,
    "deep": "a/" * 3000 + "a", "nul": "a\0b", "newline": "a\nb", "escape": "\x1b]0;owned\x07\x1b[31m",
    "c1": "\x9b31m", "bidi": "a\u202eb", "not-utf8": "\udcff\udcfe", "unicode": "çéñ漢字🐳",
    "combining": "e\u0301", "dash": "-", "dashes": "--", "option": "-x", "long-option": "--xyz=1",
    "minus-one": "-1", "negative": "-99999999999999999999", "huge": "9" * 30, "digits": "9" * 5000,
    "float": "1e400", "nan": "nan", "infinity": "-inf", "arabic": "١٢٣", "superscript": "²",
    "percent": "%s%n{0}${x}", "shell": "$(id);`id`|id&", "quote": "'\"\\", "glob": "*",
    "json": '{"a":' * 200, "colon": "host:", "tar": "tar:/dev/zero", "comma": "host:,,", "tilde": "~root",
}  # fmt: skip

# verbs that would do more to this machine than a test may
LEFT_ALONE = {"ns enter"}


class Ended(FakeTasks):
    """Tasks that have all said what they had to say."""

    def attach(self, id: str, *, exec_id: str = "") -> FakeAttachment:
        self.get(id)
        made = FakeAttachment()
        made.end()
        return made

    def events(
        self, subscribed: Callable[[], object] | None = None, *, everywhere: bool = False
    ) -> Iterator[Event]:
        return iter(())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("place")
    new_bundle(directory / "first", "host:true")
    before = set(os.listdir("/"))
    yield directory
    assert set(os.listdir("/")) <= before  # "/" and "//" are among the words


@pytest.fixture(autouse=True)
def tasks(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTasks]:
    fake = Ended()
    for name in ("up", "made", "done"):
        status = Status.CREATED if name == "made" else Status.STOPPED if name == "done" else None
        fake.add(name, status or Status.RUNNING, exit_status=0 if name == "done" else None)
    # at their door only: a module that is loaded meanwhile would keep a fake class for good
    monkeypatch.setattr(Context, "tasks", property(lambda _: fake))
    monkeypatch.setattr("mobyshell.core.linux.probe.probe", lambda: ())  # not its subject, and long
    monkeypatch.setenv("MOBYSHELL_STATE", str(place / "state"))
    monkeypatch.setenv("MOBYSHELL_ROOT", str(place / "store"))
    # nobody is asked who is not on this machine, and who cannot be reached not five times
    monkeypatch.setattr("socket.getaddrinfo", _nobody)
    monkeypatch.setattr("mobyshell.core.registry.client.Limits", lambda: Limits(attempts=1))
    # nor is anything measured: a good word among the hostile ones would take minutes, and write to /
    for measuring in (
        "run.run_all", "compare.compare", "images.measure_all", "memory.measure_memory",
        "load.run_job", "stress.stress",
    ):  # fmt: skip
        monkeypatch.setattr(f"mobyshell.bench.{measuring}", _no_bench)
    monkeypatch.chdir(place)
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        yield fake
    fake.close()


def _nobody(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def _no_bench(*_: object, **__: object) -> None:
    raise Unsupported("nothing is measured here")


def base(verb: Verb) -> tuple[dict[str, str], list[str]]:
    """The values of a good call by parameter (from the example), and the command at its end."""
    from mobyshell.commands.arguments import parse

    given = parse(verb, shlex.split(verb.example)[len(verb.name.split()) :])
    values: dict[str, str] = {}
    for one in verb.parameters:
        value = given[one.name]
        if one.rest or one.switch or value in (None, (), "", one.default):
            continue
        values[one.name] = str(value[0] if isinstance(value, tuple) else value)
    if verb.name == "bundle new":
        values["source"] = "host:true"
    if any(one.name == "pull" for one in verb.parameters):
        values["pull"] = "never"  # nor ask the registries of the world
    return values, list(given[verb.rest.name]) if verb.rest else []


def lines_of(verb: Verb, values: dict[str, str], rest: list[str], *, guarded: bool) -> list[str]:
    """The words of a call; `guarded`: positional words after `--`, so that a dash is no option."""
    words = verb.name.split()
    for one in verb.parameters:
        if one.flags and one.name in values:
            words += [one.flags[-1], values[one.name]]
    loose = [values[one.name] for one in verb.positional if one.name in values]
    if verb.rest is None:
        return [*words, *(["--"] if guarded and loose else []), *loose]
    return [*words, *loose, *(["--", *rest] if rest and not verb.greedy else rest)]


def calls() -> Iterator[tuple[str, Verb, Parameter]]:
    for verb in all_verbs():
        if verb.name not in LEFT_ALONE:
            for one in verb.parameters:
                if not one.switch:
                    yield f"{verb.name}-{one.name}", verb, one


CALLS = list(calls())


def check(words: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    """Run `mobyshell` with these words and judge what it prints."""
    code = run(words)
    out, err = capsys.readouterr()
    shown = [word[:80] for word in words]
    assert code in CODES, (shown, code)
    assert "internal error" not in err, (shown, err)
    # documents are exact in a file; on a terminal they are shown harmless, see below
    exact = words[:2] == ["bundle", "script"] or (words[0] == "repl" and "echo" in words[-1])
    for text in (err,) if exact else (out, err):
        assert all(ch.isprintable() or ch in "\n\t" for ch in text), (shown, text[:300])
    if code:
        lines = err.splitlines()
        assert 1 <= len(lines) <= 2, (shown, err[:500])
        assert lines[0].startswith("mobyshell: "), (shown, err[:500])
        assert len(lines) == 1 or lines[1].startswith("hint: "), (shown, err[:500])
        assert all(len(line) <= 500 for line in lines), (shown, [len(line) for line in lines])
    return code


@pytest.mark.parametrize(("verb", "parameter"), [one[1:] for one in CALLS],
                         ids=[one[0] for one in CALLS])  # fmt: skip
def test_every_argument_of_every_verb(
    verb: Verb, parameter: Parameter, capsys: pytest.CaptureFixture[str]
) -> None:
    values, rest = base(verb)
    for value in HOSTILE.values():
        if parameter.rest:
            check(lines_of(verb, values, [value], guarded=False), capsys)
            continue
        changed = {**values, parameter.name: value}
        for guarded in (False, True) if not parameter.flags else (False,):
            check(lines_of(verb, changed, rest, guarded=guarded), capsys)


@pytest.mark.parametrize("option", ["--state", "--root", "--namespace"])
def test_global_options(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    for value in HOSTILE.values():
        for words in (["task", "ls"], ["task", "inspect", "up"], ["doctor"]):
            check([*words, option, value], capsys)


def test_words_that_are_no_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for value in HOSTILE.values():
        for words in ([value], ["task", value], ["help", value], ["help", "task", value],
                      ["completion", "words", "--", value], ["completion", "words", "--", "task",
                       "kill", value], ["repl", "-c", value], ["repl", value, value]):  # fmt: skip
            if words[:2] != ["help", "--"] and words != ["-"]:
                check(words, capsys)


def bombs() -> Iterator[tuple[str, bytes]]:
    yield "deep", b'{"a":' * 100_000
    yield "deep-closed", b"[" * 100 + b"]" * 100
    yield "twice", b'{"ociVersion":"1.2.0","ociVersion":"1.2.0"}'
    yield "large", b'{"ociVersion":"' + b"x" * (5 << 20) + b'"}'
    yield "number", b'{"ociVersion":' + b"9" * 10_000 + b"}"
    yield "float", b'{"process":{"user":{"uid":1e999}}}'
    yield "nan", b'{"ociVersion":NaN}'
    yield "not-utf8", b'{"ociVersion":"\xff\xfe"}'
    yield "utf16", '{"ociVersion":"1.2.0"}'.encode("utf-16")
    yield "surrogate", b'{"ociVersion":"\\ud800","hostname":"\\u001b[31m\\n"}'
    yield "array", b"[1,2,3]"
    yield "text", b"hello"
    yield "nothing", b""
    yield (
        "many",
        json.dumps({"ociVersion": "1.2.0", "mounts": [{"destination": "\x1b[2J"}] * 9999}).encode(),
    )
    yield (
        "keys",
        json.dumps({"ociVersion": "1.2.0", "\x1b[31m\n": 1, "process": {"env": ["\x07"]}}).encode(),
    )


@pytest.mark.parametrize("content", [one[1] for one in bombs()], ids=[one[0] for one in bombs()])
def test_every_verb_that_reads_a_bundle(
    place: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = place / "bomb"
    (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
    (bundle / "config.json").write_bytes(content)
    for verb in all_verbs():
        if verb.subject == r.BUNDLE and verb.effect != r.DESTROY and verb.name != "bundle new":
            values, rest = base(verb)
            words = lines_of(verb, {**values, verb.positional[0].name: "bomb"}, rest, guarded=False)
            assert check(words, capsys) == 1, words
    assert check(["bundle", "ls"], capsys) == 0


def test_a_config_that_is_no_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    makers: dict[str, Callable[[Path], object]] = {
        "fifo": os.mkfifo, "directory": os.mkdir,
        "zero": partial(os.symlink, "/dev/zero"), "loop": partial(os.symlink, "config.json"),
        "dangling": partial(os.symlink, "nowhere"), "tty": partial(os.symlink, "/dev/tty"),
    }  # fmt: skip
    for name, make in makers.items():
        (place / name / "rootfs").mkdir(parents=True)
        make(place / name / "config.json")
        for verb in ("validate", "show", "plan", "script", "run"):
            assert check(["bundle", verb, name], capsys) in (1, 3)
        assert check(["bundle", "rm", name], capsys) == 3
    assert check(["bundle", "ls"], capsys) == 0


def test_a_working_directory_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in (["bundle", "ls"], ["bundle", "new", "x"], ["bundle", "plan", "x"],
                  ["bundle", "rm", "x"], ["run", "x"], ["task", "ls"], ["repl", "x"]):  # fmt: skip
        check(words, capsys)
    monkeypatch.setenv("MOBYSHELL_STATE", "relative")
    check(["task", "ls"], capsys)


def test_a_script_on_a_terminal_is_harmless(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bundle", "script", "first", "--", "\x1b[31m", "tab\tand\nline"]
    assert run(words) == 0
    assert "\x1b[31m" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown
    assert "tab\tand\nline" in shown


def test_every_word_of_the_repl(capsys: pytest.CaptureFixture[str]) -> None:
    from mobyshell.repl.evaluate import BUILTINS

    for value in HOSTILE.values():
        quoted = "'" + value.replace("'", "'\\''") + "'"
        for word in BUILTINS:
            check(["repl", "-c", f"{word} {quoted}"], capsys)
            check(["repl", "-c", f"task ls | {word} {quoted} {quoted}"], capsys)
        for line in (
            f"task ls | where id={quoted} pid>{quoted}",
            f"x = echo {quoted}",
            f"echo ${{{value}}}",
            f"{value} | {value}",
            f"task ls | each task inspect {quoted}",
        ):
            check(["repl", "-c", "set", "-c", line], capsys)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("kill", "`mobyshell task kill`"),
        ("pull", "`mobyshell image pull`"),
        ("start", "`mobyshell task start` or `mobyshell container start`"),
        ("tsk", "did you mean 'task'?"),
    ],
)
def test_the_words_of_other_engines_lead_to_ours(word: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"unknown command '{word}'") as told:
        r.lookup([word, "x"])
    assert told.value.hint == hint
