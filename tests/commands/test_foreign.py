"""The words of docker, podman, ctr and runc: refused with what to say instead."""

from __future__ import annotations

import re

import pytest

import mobyshell
from mobyshell.commands import foreign
from mobyshell.commands import registry as r
from mobyshell.commands.arguments import parse
from mobyshell.commands.cli import run
from mobyshell.core.errors import UsageError


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("images", "`mobyshell image ls`"),
        ("rmi", "`mobyshell image rm`"),
        ("state x", "`mobyshell task inspect`"),
        ("container exec", "`mobyshell task exec`"),
        ("container delete", "`mobyshell container rm`"),
        ("task rm", "`mobyshell task delete`"),
        ("image load", "`mobyshell image import`"),
        ("network create-it", "did you mean 'network create'?"),
        ("zzz", "`mobyshell help` lists what there is"),
        ("image zzz", "`mobyshell help image` lists what there is"),
    ],
)
def test_foreign_commands_lead_to_ours(words: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"unknown command '{words.removesuffix(' x')}'") as told:
        r.lookup(words.split())
    assert told.value.hint == hint


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("run --mount x box", "-v NAME:/path"),
        ("run --pid host box", "with_host_namespace"),
        ("task ls -n other", "--namespace NAME"),
        ("ps -aq", "by itself"),
        ("task ls --filter x", "where status="),
        ("image rm -f box", "leave it away"),
        ("task run -b box", "the bundle is a word"),
        ("run --nonsense box", "usage: mobyshell container run [OPTION…] IMAGE [COMMAND…]"),
        ("run --net host box", "did you mean --network?"),
    ],
)
def test_foreign_options_lead_to_ours(words: str, hint: str) -> None:
    verb, rest = r.lookup(words.split())
    with pytest.raises(UsageError, match="unknown option") as told:
        parse(verb, rest)
    assert hint in str(told.value.hint)


def test_hints_name_what_there_is() -> None:
    """A hint that leads to a command, an option of Python's or a variable of rows leads somewhere."""
    for ours in (*foreign._OURS.values(), *re.findall(r"`mobyshell ([^`]*)`", f"{foreign._SAID}")):
        if ours.split()[0] not in ("repl", "exec"):
            assert r.lookup(ours.split())
    for name in foreign._IN_PYTHON.values():
        assert callable(getattr(mobyshell, name))


@pytest.mark.parametrize("words", ["help image pull", "image help pull", "image pull --help"])
def test_help_is_asked_for_in_any_place(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words.split()) == 0
    assert capsys.readouterr().out.startswith("usage: mobyshell image pull ")
    assert run(["image", "help"]) == 0


def test_an_option_before_the_verb_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--log-level", "task", "ls"]) == 2
    told = capsys.readouterr().err
    assert "unknown option '--log-level'" in told
    assert "hint: --debug" in told
