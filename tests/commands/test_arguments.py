"""Where a verb's own words end and those of the command it starts begin."""

from __future__ import annotations

import pytest

from mobyshell.commands.arguments import parse, parse_size
from mobyshell.commands.registry import lookup
from mobyshell.core.errors import UsageError

COMMAND = ["sh", "-c", "echo $0 --rm", "--rm", "-d"]


@pytest.mark.parametrize("verb", ["container run", "task run", "bundle plan"])
@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_a_command_has_its_options_to_itself(verb: str, dashes: list[str]) -> None:
    found, rest = lookup([*verb.split(), "box", *dashes, *COMMAND])
    values = parse(found, rest)
    assert values["command"] == tuple(COMMAND)
    assert not values.get("rm")
    assert not values.get("detach")


def test_options_stand_before_the_command_on_both_sides_of_the_image() -> None:
    found, rest = lookup(["container", "run", "--rm", "box", "-d", "sh", "-d", "--", "x"])
    values = parse(found, rest)
    assert (values["image"], values["rm"], values["detach"]) == ("box", True, True)
    assert values["command"] == ("sh", "-d", "--", "x")


def test_an_option_before_any_command_is_the_verbs_or_nobodys() -> None:
    found, rest = lookup(["container", "run", "box", "-c", "x"])
    with pytest.raises(UsageError, match="unknown option '-c'") as caught:
        parse(found, rest)
    assert "--" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("word", "size"),
    [("64M", 64 << 20), ("64mb", 64 << 20), ("64MiB", 64 << 20), ("1.5g", 3 << 29), ("10b", 10)],
)
def test_sizes_are_written_as_other_engines_write_them(word: str, size: int) -> None:
    assert parse_size(word) == size


@pytest.mark.parametrize("word", ["64mbb", "mb", "b", "64bb", "64xb", "64mm"])
def test_what_is_no_size(word: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(word)


@pytest.mark.parametrize(
    ("words", "sent"),
    [("-9 up", 9), ("-KILL up", 9), ("-SIGHUP up", 1), ("up -9", 9), ("-s HUP up", 1),
     ("--signal=9 up", 9), ("-a -9 up", 9)],
)  # fmt: skip
def test_a_signal_is_written_as_kill_takes_it(words: str, sent: int) -> None:
    verb, rest = lookup(["task", "kill", *words.split()])
    values = parse(verb, rest)
    assert (values["id"], values["sig"]) == ("up", sent)


@pytest.mark.parametrize("words", ["-NONSENSE up", "-99 up", "-x up", "-9"])
def test_what_kill_does_not_take(words: str) -> None:
    verb, rest = lookup(["task", "kill", *words.split()])
    with pytest.raises(UsageError):
        parse(verb, rest)
