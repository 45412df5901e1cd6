"""The command line as runc's parser reads it (Go's `flag` behind urfave/cli).

Owns the rules: one or two dashes, `--name=value` or `--name value`, a boolean takes a value only
behind `=`, a list is given again and again, `--` ends the flags. Most commands also accept known
flags behind their arguments; `exec` and `ps` do not, for what follows belongs to the container.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    Value: TypeAlias = "bool | int | str | list[str]"

BOOL, TEXT, NUMBER, LIST, SECONDS = "bool", "text", "number", "list", "seconds"

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class FlagError(Exception):
    """The words cannot be read; the text is what runc says."""


class Flags:
    """What was given. A flag that was not given is False, "", 0 or []."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._given: dict[str, Value] = {}
        self.words: list[str] = []

    def on(self, name: str) -> bool:
        return bool(self._given.get(name, False))

    def text(self, name: str, default: str = "") -> str:
        return str(self._given.get(name, default))

    def number(self, name: str, default: int = 0) -> int:
        value = self._given.get(name, default)
        assert isinstance(value, int)
        return value

    def list(self, name: str) -> Sequence[str]:
        value = self._given.get(name, [])
        assert isinstance(value, list)
        return value

    def given(self, name: str) -> bool:
        return name in self._given

    def put(self, name: str, word: str | None) -> None:
        """One flag with its value (None: a boolean alone)."""
        kind = self._kinds[name]
        if kind == BOOL:
            if word is None or word in _TRUE:
                self._given[name] = True
            elif word in _FALSE:
                self._given[name] = False
            else:
                raise FlagError(f'invalid boolean value "{word}" for -{name}: parse error')
            return
        assert word is not None
        if kind == LIST:
            value = self._given.setdefault(name, [])
            assert isinstance(value, list)
            value.append(word)
        elif kind == NUMBER:
            self._given[name] = _number(name, word)
        else:
            self._given[name] = word


def _number(name: str, word: str) -> int:
    """Go's strconv.ParseInt with base 0."""
    try:
        return int(word, 8) if word.lstrip("+-").isdecimal() and _octal(word) else int(word, 0)
    except ValueError:
        raise FlagError(f'invalid value "{word}" for flag -{name}: parse error') from None


def _octal(word: str) -> bool:
    digits = word.lstrip("+-")
    return len(digits) > 1 and digits[0] == "0"


def parse(
    kinds: Mapping[str, str], short: Mapping[str, str], words: Sequence[str], *, anywhere: bool
) -> Flags:
    """Read `words` by the flags of `kinds` (name → kind) and `short` (letter → name).

    `anywhere`: known flags may follow arguments too. FlagError with what is wrong.
    """
    flags = Flags(kinds)
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if word == "--":
            flags.words += words[index:]
            break
        name, value = _split(word)
        known = short.get(name, name)
        if not name or (flags.words and known not in kinds):
            flags.words.append(word)
            if not anywhere:
                flags.words += words[index:]
                break
            continue
        if name in ("h", "help") and known not in kinds:
            raise Help
        if known not in kinds:
            raise FlagError(f"flag provided but not defined: -{name}")
        if kinds[known] != BOOL and value is None:
            if index == len(words):
                raise FlagError(f"flag needs an argument: -{name}")
            value = words[index]
            index += 1
        flags.put(known, value)
    return flags


class Help(Exception):
    """Help was asked for."""


def _split(word: str) -> tuple[str, str | None]:
    """(name, value behind `=` or None) of a flag; an empty name for an argument."""
    if len(word) < 2 or word[0] != "-":
        return "", None
    bare = word[2:] if word.startswith("--") else word[1:]
    name, given, value = bare.partition("=")
    return name, value if given else None
