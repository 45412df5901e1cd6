"""Every verb of the table: its example runs, its bad arguments are refused in one line."""

from __future__ import annotations

import json
import shlex
from contextlib import ExitStack
from pathlib import Path

import pytest

from mobyshell.commands import registry as r
from mobyshell.commands.help import reference
from mobyshell.commands.registry import Verb, all_verbs
from tests.commands.stored import furnish, lease, real_image
from tests.conftest import Workplace
from tests.core.registry.distribution import distribution

pytestmark = pytest.mark.root

VERBS = list(all_verbs())

# what the examples' names stand for
PREPARE = {
    "up": ["task", "run", "-d", "--name", "up", "first", "--", "sleep", "1000"],
    "shim": ["task", "run", "-d", "--name", "up", "first", "--", "sleep", "1000"],
    "made": ["task", "create", "--name", "made", "first"],
    "done": ["task", "run", "--name", "done", "first", "--", "echo", "said"],
    "scratch": ["bundle", "new", "scratch"],
    "layer-key": ["snapshot", "prepare", "layer-key"],
    "layer-view": ["snapshot", "view", "layer-view"],
    "lan": ["network", "create", "--subnet", "10.199.0.0/24", "lan"],
    "kept": ["volume", "create", "kept"],
    "alpine.tar": ["image", "export", "alpine", "-o", "alpine.tar"],
    "box": ["container", "create", "--name", "box", "box-image"],
    "mine.key": ["image", "keygen", "mine"],
    "mine.pub": ["image", "keygen", "mine"],
}

BOX = "steps: [{programs: [/bin/busybox]}]\ncmd: [/bin/busybox, sleep, '1000']\n"
BUILD = "steps: [{file: /hello, content: hello}]\ncmd: [/hello]\n"
REGISTRY = "localhost:5000"

PASSES_A_CODE = {"task wait": 0, "task attach": 0}


STORED = ("image", "container", "content", "namespace", "store", "lease")


def prepare(workplace: Workplace, verb: Verb, words: list[str]) -> None:
    if verb.noun in STORED:
        furnish(workplace.directory / "store")
    if verb.name in ("image keygen", "image sign", "image verify"):
        workplace.environment["MOBYSHELL_PASSWORD"] = "of the key"
    if verb.noun == "lease":
        lease(workplace.directory / "store")
    if "box" in words or "box-image" in words:
        (workplace.directory / "box.yml").write_text(BOX)
        workplace.ok("image", "build", "-t", "box-image", "box.yml")
    if verb.noun in ("image", "container"):
        real_image(workplace.directory / "store")
    for name, line in PREPARE.items():
        if name in words and verb.name not in ("task create", "bundle new"):
            workplace.ok(*line)
    if verb.name == "image build":
        (workplace.directory / "build.yml").write_text(BUILD)
    if verb.name == "image unmount":
        workplace.ok("image", "mount", "alpine", "mnt")
    if verb.name == "snapshot unmount":
        workplace.ok("snapshot", "view", "layer-view")
        workplace.ok("snapshot", "mount", "layer-view", "mnt")
    if verb.name == "image verify":
        workplace.ok("image", "sign", "alpine", "--key", "mine.key")
    if verb.name in ("network connect", "network disconnect"):
        workplace.ok("network", "create", "--subnet", "10.198.0.0/24", "wan")
        workplace.ok("run", "-d", "--name", "web", "--network", "wan", "first", "sleep", "1000")
    if verb.name == "network disconnect":
        workplace.ok("network", "connect", "lan", "web")
    if verb.name == "task resume":
        workplace.ok("task", "pause", "up")


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_example_runs(workplace: Workplace, verb: Verb) -> None:
    words = shlex.split(verb.example)
    prepare(workplace, verb, words)
    with ExitStack() as stack:
        if verb.name in ("image mount", "snapshot mount"):
            stack.callback(workplace.ok, verb.noun, "unmount", "mnt")
        if verb.name in ("network connect", "network disconnect"):
            for name in ("lan", "wan"):  # their bridges would stay
                stack.callback(workplace.ok, "network", "rm", name)
            stack.callback(workplace.ok, "rm", "-f", "web")
        if REGISTRY in verb.example:
            host = stack.enter_context(distribution()).host
            words = [word.replace(REGISTRY, host) for word in words]
            workplace.ok("image", "push", "alpine", f"{host}/busybox")
        done = workplace.run(*words, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_help_has_everything(workplace: Workplace, verb: Verb) -> None:
    page = workplace.ok("help", *verb.name.split())
    assert verb.summary in page
    assert all(one.help in page for one in verb.parameters)
    assert workplace.ok(*verb.name.split(), "--help") == page


def bad_calls() -> list[tuple[list[str], int]]:
    """(words, exit code) of calls that must be refused."""
    calls: list[tuple[list[str], int]] = []
    for verb in VERBS:
        words = verb.name.split()
        calls.append(([*words, "--no-such-option"], 2))
        required = [one for one in verb.positional if one.required]
        if required:
            calls.append((words, 2))
        if not verb.rest and not any(one.many for one in verb.positional):
            given = ["1" if one.kind == r.NUMBER else "x" for one in verb.positional]
            calls.append(([*words, *given, "one", "too", "many"], 2))
        rest = ["true"] if verb.rest is not None and verb.rest.required else []
        first = required[0].kind if required else ""
        if first == r.TASK:
            if len(required) > 1 and not rest:
                rest = shlex.split(verb.example)[-1:]
            calls.append(([*words, "nobody", *rest], 3))
            calls.append(([*words, "../../etc", *rest], 2))
            calls.append(([*words, "a" * 500, *rest], 2))
            calls.append(([*words, "\x1b[31mred", *rest], 2))
            calls.append(([*words, "", *rest], 2))
        if first == r.SNAPSHOT:
            calls.append(([*words, "nowhere", *(["x=y"] if len(required) > 1 else [])], 3))
            calls.append(([*words, "", *(["x=y"] if len(required) > 1 else [])], 3))
        if first in (r.IMAGE, r.CONTAINER, r.BLOB, r.TENANT, r.LEASE) and required[0].required:
            # what is asked of an image that is not there is in itself right
            example = shlex.split(verb.example)[len(verb.name.split()) + 1 :]
            more = [word for word in example if word[0] != "-"][: len(required) - 1]
            calls.append(([*words, "f00d" if first == r.BLOB else "nobody", *more], 3))
            calls.append(([*words, "../\x1b[31m", *more], 2))
        if first == r.BUNDLE:
            calls.append(([*words, "no-such-bundle"], 3))
            calls.append(([*words, ""], 2))
        for one in verb.parameters:
            if one.flags and one.kind in (r.NUMBER, r.SIZE, r.SECONDS):
                calls.append(([*words, one.flags[-1], "nonsense"], 2))
            if one.flags and not one.switch:
                calls.append(([*words, one.flags[-1]], 2))
    return calls


@pytest.mark.parametrize(("words", "code"), bad_calls(), ids=lambda value: str(value)[:60])
def test_bad_arguments_are_one_line_a_hint_and_the_right_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    words: list[str], code: int,
) -> None:  # fmt: skip
    from mobyshell.commands.cli import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOBYSHELL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MOBYSHELL_ROOT", str(tmp_path / "store"))
    assert run(words) == code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert 1 <= len(lines) <= 2, lines
    assert lines[0].startswith("mobyshell: ")
    assert all(line.isprintable() for line in lines)
    assert len(lines) == 1 or lines[1].startswith("hint: ")


def test_a_name_is_taken_once(workplace: Workplace) -> None:
    workplace.ok("task", "create", "--name", "made", "first")
    assert workplace.run("task", "create", "--name", "made", "first").returncode == 3
    assert workplace.run("bundle", "new", "first").returncode == 3


def test_exit_codes_are_passed_on(workplace: Workplace) -> None:
    assert workplace.run("run", "--rm", "first", "--", "sh", "-c", "exit 42").returncode == 42
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    assert workplace.run("exec", "up", "sh", "-c", "exit 7").returncode == 7
    workplace.ok("task", "kill", "up", "KILL")
    assert workplace.run("task", "wait", "up").returncode == 137
    assert workplace.run("task", "wait", "--timeout", "5", "up").returncode == 137


def test_wait_times_out_with_124(workplace: Workplace) -> None:
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    assert workplace.run("task", "wait", "--timeout", "0.1s", "up").returncode == 124


def test_options_after_the_id_of_exec_are_the_commands(workplace: Workplace) -> None:
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    assert workplace.ok("exec", "up", "echo", "-q", "--json") == "-q --json\n"


def test_standard_input_goes_in(workplace: Workplace) -> None:
    done = workplace.run(
        "run", "-i", "--rm", "first", "--", "sh", "-c", "cat; echo end", input="a\nb\n"
    )
    assert (done.returncode, done.stdout) == (0, "a\nb\nend\n")


def test_readonly_refuses(workplace: Workplace) -> None:
    for words in (["run", "first"], ["task", "kill", "x"], ["bundle", "rm", "first"]):
        done = workplace.run("--readonly", *words)
        assert done.returncode == 5
        assert "read-only" in done.stderr
    assert workplace.run("--readonly", "ps").returncode == 0


def test_plan_shows_and_does_nothing(workplace: Workplace) -> None:
    text = workplace.ok("run", "--plan", "--table", "--name", "x", "first", "--", "echo", "hi")
    assert "make the rootfs the root, and detach the old one" in text
    assert "execute echo hi" in text
    assert workplace.ok("task", "ls", "-a") == ""
    rows = [
        json.loads(line) for line in workplace.ok("bundle", "plan", "first", "--json").splitlines()
    ]
    assert all(row["title"] and row["why"] and row["actor"] in ("parent", "child") for row in rows)
    assert any("pivot_root" in call for row in rows for call in row["calls"])


def test_forms_of_output(workplace: Workplace) -> None:
    import yaml

    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    (row,) = [json.loads(line) for line in workplace.ok("ps").splitlines()]
    assert (row["id"], row["status"], row["command"]) == ("up", "running", "sleep 1000")
    assert yaml.safe_load(workplace.ok("ps", "--yaml"))[0]["id"] == "up"
    assert workplace.ok("ps", "-q") == "up\n"
    table = workplace.ok("ps", "--table").splitlines()
    assert table[0].split()[:3] == ["ID", "STATUS", "PID"]
    assert table[1].split()[:2] == ["up", "running"]
    assert json.loads(workplace.ok("task", "inspect", "up"))["spec"]["hostname"] == "runc"


def test_a_broken_config_is_told_whole(workplace: Workplace) -> None:
    path = workplace.directory / "first" / "config.json"
    document = json.loads(path.read_text())
    document["process"]["cwd"] = "relative"
    document["linux"]["namespaces"].append({"type": "nonsense"})
    path.write_text(json.dumps(document))
    done = workplace.run("bundle", "validate", "first")
    assert done.returncode == 1
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [
        "process.cwd", "linux.namespaces[5].type",
    ]  # fmt: skip
    assert workplace.run("run", "first").returncode == 1


def test_warnings_are_told_and_are_no_failure(workplace: Workplace) -> None:
    assert workplace.ok("bundle", "validate", "first") == ""
    path = workplace.directory / "first" / "config.json"
    document = json.loads(path.read_text())
    document["process"]["capabilities"]["ambient"] = ["CAP_KILL"]
    path.write_text(json.dumps(document))
    done = workplace.run("bundle", "validate", "first", "--json")
    assert (done.returncode, done.stderr) == (0, "first/config.json is valid, with 1 warning\n")
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (row["severity"], row["path"]) == ("warning", "process.capabilities.ambient[0]")
    path.write_text("{")
    assert workplace.run("bundle", "validate", "first").returncode == 1


def test_no_forks_where_the_limit_is_none(workplace: Workplace) -> None:
    path = workplace.directory / "first" / "config.json"
    document = json.loads(path.read_text())
    document["linux"]["resources"]["pids"] = {"limit": 0}
    path.write_text(json.dumps(document))
    done = workplace.run("run", "--rm", "first", "--", "sh", "-c", "echo alone; true | true")
    assert done.stdout == "alone\n"
    assert "can't fork" in done.stderr
    assert done.returncode != 0


def test_rm_heeds_tasks_of_other_namespaces(workplace: Workplace) -> None:
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    done = workplace.run("--namespace", "other", "bundle", "rm", "first")
    assert done.returncode == 5
    assert "task up of namespace default" in done.stderr
    # nor what is above it
    assert workplace.run("--namespace", "other", "bundle", "rm", "first/..").returncode in (3, 5)
    assert (workplace.directory / "first" / "config.json").exists()


def test_rm_keeps_what_runs(workplace: Workplace) -> None:
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    assert workplace.run("bundle", "rm", "first").returncode == 5
    workplace.ok("rm", "-f", "up")
    workplace.ok("bundle", "rm", "first")
    assert not (workplace.directory / "first").exists()


def test_trace_and_diff(workplace: Workplace) -> None:
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    rows = [json.loads(line) for line in workplace.ok("task", "trace", "up").splitlines()]
    assert any(row["call"].startswith("pivot_root(") for row in rows)
    assert any(
        row["call"].startswith("execve(") or row["call"].startswith("capset(") for row in rows
    )
    assert all(row["ns"] > 0 for row in rows)
    rows = [json.loads(line) for line in workplace.ok("task", "diff", "--all", "up").splitlines()]
    assert not [row for row in rows if row["agrees"] is False]
    assert len(rows) > 30


@pytest.mark.parametrize("verb", all_verbs(), ids=lambda verb: verb.name)
def test_a_summary_is_a_whole_sentence(verb: Verb) -> None:
    """Menus and lists of verbs show the first line of a docstring alone."""
    assert verb.summary.endswith((".", ":")), verb.summary


def test_the_reference_is_up_to_date() -> None:
    path = Path(__file__).parents[2] / "docs" / "reference.md"
    assert path.read_text() == reference(), "run `make docs`"


def test_an_unknown_word_gets_the_nearest(workplace: Workplace) -> None:
    done = workplace.run("tsk", "ls")
    assert done.returncode == 2
    assert "did you mean 'task'?" in done.stderr
    done = workplace.run("task", "delte", "x")
    assert "did you mean 'task delete'?" in done.stderr
