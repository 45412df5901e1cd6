"""What is the user's to change: keys, themes. What cannot be used is said, and the rest is used.

    ~/.config/mobyshell/keymap.toml      "task.pause" = "f7"
    ~/.config/mobyshell/theme            the name of the chosen theme
    ~/.config/mobyshell/themes/sea.toml  primary = "#0077aa"

Knows files and values, no screen. No function here raises: each gives what is good, and sentences
about what is not.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.keys import Keys
from textual.theme import Theme

LARGEST = 256 * 1024
"""Bytes of a settings file that are read at most."""

_COLOURS = frozenset({
    "primary", "secondary", "warning", "error", "success", "accent", "foreground", "background",
    "surface", "panel", "boost",
})  # fmt: skip
_FLAGS = frozenset({"dark", "ansi"})
_NUMBERS = frozenset({"luminosity_spread", "text_alpha"})
_STYLES = frozenset({"none", "not", "bold", "b", "dim", "italic", "i", "underline", "u", "reverse"})
_THEME = frozenset(one.name for one in fields(Theme)) - {"name"}

_HELD = frozenset({"ctrl", "shift", "alt", "super", "hyper", "meta"})
_NAMED = frozenset(str(one.value) for one in Keys) | {"space"}


def config_directory() -> Path:
    """Where keymap.toml and the themes are kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(base) / "mobyshell"


def read_keymap(path: Path, actions: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """The keys that the file at `path` gives to `actions`, and what is wrong with it."""
    document, complaints = _toml(path)
    keymap: dict[str, str] = {}
    for action, keys in document.items():
        wrong = (
            f"no action {action!r}{_meant(action, actions)}" if action not in actions
            else f"{action}: keys are a text such as \"f7\" or \"x,ctrl+x\"" if not isinstance(keys, str)
            else _wrong_keys(action, keys)
        )  # fmt: skip
        if wrong:
            complaints.append(wrong)
        else:
            keymap[action] = ",".join(one.strip() for one in keys.split(","))
    return keymap, complaints


def _wrong_keys(action: str, keys: str) -> str:
    for key in (one.strip() for one in keys.split(",")):
        if not is_key(key):
            return f"{action}: no key {key!r}{_meant(key, _NAMED)}"
    return ""


def is_key(key: str) -> bool:
    """Whether `key` is a key by Textual's names: `x`, `?`, `f7`, `ctrl+x`, `question_mark`."""
    *held, name = key.split("+") if key != "+" else [key]
    if not set(held) <= _HELD or not name:
        return False
    if len(name) == 1:
        return name.isprintable()
    return name in _NAMED or key in _NAMED or _is_character(name)


def _is_character(name: str) -> bool:
    import unicodedata

    try:
        unicodedata.lookup(name.replace("_", " ").upper())
    except KeyError:
        return False
    return True


def read_theme_name(path: Path, themes: Iterable[str]) -> tuple[str, list[str]]:
    """The chosen theme ("" where none was, or it is not there), and what is wrong with the file."""
    text, complaints = _text(path)
    name = text.strip()
    themes = list(themes)
    if name and name not in themes:
        return "", [*complaints, f"no theme {name[:40]!r}{_meant(name, themes)}"]
    return name, complaints


def read_themes(directory: Path) -> tuple[list[Theme], dict[Path, list[str]]]:
    """The themes of the files in `directory`, and what is wrong with the others."""
    themes: list[Theme] = []
    complaints: dict[Path, list[str]] = {}
    try:
        paths = sorted(directory.glob("*.toml"))
    except OSError as error:
        return [], {directory: [error.strerror or str(error)]}
    for path in paths:
        document, wrong = _toml(path)
        wrong += [] if wrong else _wrong_theme(document)
        if wrong:
            complaints[path] = wrong
        else:
            themes.append(Theme(path.stem, **document))
    return themes, complaints


def _wrong_theme(document: Mapping[str, Any]) -> list[str]:
    wrong = [] if "primary" in document else ["it must set primary"]
    for name, value in document.items():
        if name in _COLOURS:
            wrong += _wrong_colour(name, value)
        elif name == "variables":
            wrong += _wrong_variables(value)
        elif name in _FLAGS:
            wrong += [] if isinstance(value, bool) else [f"{name}: true or false"]
        elif name in _NUMBERS:
            good = isinstance(value, int | float) and not isinstance(value, bool)
            wrong += [] if good else [f"{name}: a number"]
        else:
            wrong.append(f"no colour {name!r}{_meant(name, _THEME)}")
    return wrong


def _wrong_variables(variables: object) -> list[str]:
    if not isinstance(variables, dict):
        return ["variables: a table of names with texts"]
    known = Theme("known", primary="#000000").to_color_system().generate()
    wrong: list[str] = []
    for name, value in variables.items():
        if name not in known:
            wrong.append(f"no variable {name!r}{_meant(name, known)}")
        elif name.endswith("style") or "-style-" in name:
            good = isinstance(value, str) and value and set(value.split()) <= _STYLES
            wrong += [] if good else [f'{name}: words such as "bold" or "underline"']
        else:
            # as in tokens: a colour, and perhaps how much of it
            plain = re.sub(r"\s+\d{1,3}%$", "", value) if isinstance(value, str) else ""
            wrong += [] if plain == "auto" else _wrong_colour(name, plain)
    return wrong


def _wrong_colour(name: str, value: object) -> list[str]:
    try:
        Color.parse(str(value) if isinstance(value, str) else "")
    except ColorParseError:
        return [f'{name}: {str(value)[:40]!r} is not a colour such as "#4aa3df" or "red"']
    return []


def remember_theme(name: str) -> None:
    """Write down the chosen theme, whole or not at all."""
    directory = config_directory()
    temporary = directory / f"theme.{os.getpid()}.new"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary.write_text(f"{name}\n")
        temporary.rename(directory / "theme")
    except OSError:
        temporary.unlink(missing_ok=True)  # a home that cannot be written: for this time only


def _toml(path: Path) -> tuple[dict[str, Any], list[str]]:
    text, complaints = _text(path)
    try:
        return tomllib.loads(text), complaints
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        where = re.sub(r"\s+", " ", str(error)) or "nested too deeply"
        return {}, [f"not TOML: {where}"]


def _text(path: Path) -> tuple[str, list[str]]:
    """The text of a regular file; "" where there is none."""
    try:
        # not blocking: a FIFO in its place must not stop the program at its start
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            data = file.read(LARGEST + 1) or b""
    except FileNotFoundError:
        return "", []
    except OSError as error:
        return "", [error.strerror or str(error)]
    if len(data) > LARGEST:
        return "", [f"larger than {LARGEST // 1024} KiB"]
    try:
        return data.decode(), []
    except UnicodeDecodeError as error:
        return "", [f"not UTF-8 (at byte {error.start})"]


def _meant(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
