"""Every verb that answers data answers it in every form."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from mobyshell.commands import results as r
from mobyshell.commands.cli import Options, call, show
from mobyshell.commands.context import Context
from mobyshell.commands.output import clean
from mobyshell.commands.registry import READ, Verb, all_verbs
from mobyshell.core.errors import AlreadyExists
from mobyshell.core.network.networks import Networks
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.store.snapshots.choose import snapshotter
from mobyshell.core.tasks.service import Status
from mobyshell.core.volumes.volumes import Volumes
from tests.commands.stored import furnish, lease, real_image, signed_image
from tests.fakes import FakeTasks

# these measure for a while; their examples run elsewhere
LONG = {"bench run", "bench memory", "bench stress"}
# and these ask a shim, which fakes do not have
REAL = {"debug stacks", "debug heap", "debug flame"}
# a registry (tests/moby/test_transfer has one)
REMOTE = {"image referrers"}
ELSEWHERE = LONG | REAL | REMOTE
VERBS = [verb for verb in all_verbs() if verb.effect == READ and verb.name not in ELSEWHERE]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("place")
    new_bundle(directory / "first", "host:true")
    furnish(directory / "store")
    lease(directory / "store")
    root = str(directory / "store")
    Networks(root, "default", str(directory / "addresses")).create("lan", subnets=["10.199.0.0/24"])
    Volumes(root, "default").create("kept")
    real_image(directory / "store")
    signed_image(directory / "store", directory / "mine.pub")
    return directory


@pytest.fixture
def context(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.chdir(place)
    tasks = FakeTasks()
    tasks.add("up")
    tasks.add("made", Status.CREATED)
    tasks.add("done", Status.STOPPED, exit_status=0)
    context = Context(root=str(place / "store"), state=str(place / "state"), tasks=tasks)
    with suppress(AlreadyExists):
        snapshotter(context.space.scope).prepare("layer-key")
    yield context
    context.close()


class Shown:
    """What a verb answers, once: the machine may be another one a moment later."""

    def __init__(self, context: Context, verb: Verb, capsys: pytest.CaptureFixture[str]) -> None:
        self.result, self._capsys = call(context, shlex.split(verb.example)), capsys
        if isinstance(self.result, r.Stream):
            self._items = list(self.result.items)

    def __call__(self, form: str = "", *, quiet: bool = False) -> str:
        options = Options()
        options.form, options.quiet = form, quiet
        result = self.result
        if isinstance(result, r.Stream):
            result = r.Stream(self._items, result.show, document=result.document)
        assert show(result, options) == 0
        return self._capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_json_yaml_table_and_names(
    context: Context, verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Shown(context, verb, capsys)
    result, text = shown.result, shown()
    if isinstance(result, (r.Text, r.Done)):
        for form in ("json", "yaml", "table"):
            assert shown(form) == text  # a document is what it is
        return
    lines: list[Any] = [json.loads(line) for line in shown("json").splitlines()]
    if not (isinstance(result, r.Stream) and result.document):
        assert len(text.splitlines()) == len(lines)  # JSON lines, where it is no terminal
    documents = list(yaml.safe_load_all(shown("yaml")))
    if isinstance(result, r.Rows):
        assert len(documents[0]) == len(lines) == len(result.rows)
        table = shown("table").splitlines()
        assert len(table) == len(lines) + 1
        assert table[0].split() == " ".join(title for _, title, _ in result.columns).split()
        assert shown(quiet=True).splitlines() == [str(row[result.key]) for row in result.rows]
        assert all(key in row for row in lines for key, _, _ in result.columns)
    elif isinstance(result, r.Record):
        assert len(lines) == 1
        assert documents[0].keys() == lines[0].keys() == result.fields.keys()
        assert len(shown(quiet=True).splitlines()) == 1


def test_a_name_that_is_no_text_shows_the_bytes_it_has() -> None:
    assert clean(b"bad\xffname".decode("utf-8", "surrogateescape")) == "bad\\xffname"
    assert clean("a\tb\u202ec") == "a\\tb\\u202ec"
