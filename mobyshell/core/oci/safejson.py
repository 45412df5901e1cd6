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


class _Duplicate(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Duplicate(key)
            seen.add(key)
    return found


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def read_json(text: str | bytes, what: str = "config.json") -> Any:
    """The value in `text`. Raises InvalidSpec with one line that says where it goes wrong."""
    if len(text) > LARGEST:
        raise InvalidSpec(
            f"{what} is too large: {len(text)} bytes", hint=f"at most {LARGEST} are read"
        )
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidSpec(f"{what} is not UTF-8: byte {error.start}") from None
    _check_depth(text, what)
    try:
        return _DECODER.decode(text)
    except _Duplicate as error:
        raise InvalidSpec(
            f"{what}: the key {show(str(error))} stands twice in one object"
        ) from None
    except json.JSONDecodeError as error:
        raise InvalidSpec(
            f"{what} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from None
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, NaN, Infinity
        raise InvalidSpec(f"{what} is not JSON: {show(str(error))}") from None


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
    """A value as it is shown in a message: one line, short, nothing a terminal would obey."""
    if isinstance(value, str):
        text = json.dumps(value[: longest * 2], ensure_ascii=False)
    elif isinstance(value, dict):
        text = f"an object of {len(value)} members"
    elif isinstance(value, list):
        text = f"an array of {len(value)} elements"
    else:
        text = json.dumps(value)
    text = "".join(ch if ch.isprintable() else "?" for ch in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
