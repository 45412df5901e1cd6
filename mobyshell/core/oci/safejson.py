"""JSON from strangers: bounded in size and depth, no duplicate keys, nothing JSON does not have.

Owns the reading of text into plain values. Never raises anything but InvalidSpec.
"""

from __future__ import annotations

import json
from typing import Any

from mobyshell.core.errors import InvalidSpec

LARGEST = 4 * 1024 * 1024
"""Bytes. containerd and the registries use the same bound for what they parse."""

DEEPEST = 64


_INFINITE = float("inf")
LONGEST_NUMBER = 400
"""Digits. No number of a spec has more than 20; converting very long ones takes quadratic time."""


class _Refused(ValueError):
    """Well-formed, but nothing that is taken from strangers. The message is one line."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"the key {show(key)} stands twice in one object")
            seen.add(key)
    return found


def _constant(word: str) -> Any:
    raise _Refused(f"{word} is not a JSON number")


def _integer(word: str) -> int:
    if len(word) > LONGEST_NUMBER:
        raise _Refused(f"a number of {len(word)} digits")
    return int(word)


def _float(word: str) -> float:
    value = float(word) if len(word) <= LONGEST_NUMBER else _INFINITE
    if abs(value) == _INFINITE:
        raise _Refused(f"the number {word[:20]}{'…'[: len(word) > 20]} is out of range")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
)


def read_json(text: str | bytes, what: str = "config.json") -> Any:
    """The value in `text`. Raises InvalidSpec with one line that says where it goes wrong."""
    if len(text) > LARGEST:
        raise InvalidSpec(
            f"{what} is too large: {len(text)} bytes", hint=f"at most {LARGEST} are read"
        )
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise InvalidSpec(f"{what} is not UTF-8: byte {error.start}") from None
    text = text.removeprefix("\ufeff")  # editors on other systems begin a file with it
    _check_depth(text, what)
    try:
        value = _DECODER.decode(text)
        if "\\u" in text or not text.isascii():
            _check_surrogates(value)
    except _Refused as error:
        raise InvalidSpec(f"{what}: {error}") from None
    except json.JSONDecodeError as error:
        raise InvalidSpec(
            f"{what} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    return value


def _check_surrogates(value: Any) -> None:
    """Refuse half of a surrogate pair: such a string is no Unicode text and cannot be written."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise _Refused(f"a string holds \\u{half:04x}, half of a surrogate pair") from None


def _check_depth(text: str, what: str) -> None:
    """Count brackets outside of strings: a parser that recurses must not see a deep document."""
    if text.count("{") + text.count("[") <= DEEPEST:
        return
    depth = 0
    parts = text.replace("\\\\", "").replace('\\"', "").split('"')
    for outside in parts[::2]:
        for character in outside:
            if character in "{[":
                depth += 1
                if depth > DEEPEST:
                    raise InvalidSpec(f"{what} is nested deeper than {DEEPEST} levels")
            elif character in "}]":
                depth -= 1


def show(value: Any, longest: int = 60) -> str:
    """A value as it is shown in a message: one line, short, nothing a terminal would obey.

    What cannot be printed is escaped as in JSON.
    """
    if isinstance(value, str):
        text = json.dumps(value[: longest * 2], ensure_ascii=False)
    elif isinstance(value, dict):
        text = f"an object of {len(value)} member{'s'[: len(value) != 1]}"
    elif isinstance(value, list):
        text = f"an array of {len(value)} element{'s'[: len(value) != 1]}"
    else:
        text = json.dumps(value)
    if not text.isprintable():
        text = "".join(ch if ch.isprintable() else json.dumps(ch)[1:-1] for ch in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
