"""`RUN --mount=type=…`: the words of a mount. Pure.

https://docs.docker.com/reference/dockerfile/#run---mount
"""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Mapping

from mobyshell.moby.build.steps import (
    BIND,
    CACHE,
    LOCKED,
    PRIVATE,
    SECRET,
    SHARED,
    SSH,
    TMPFS,
    RunMount,
)
from mobyshell.moby.build.words import Expand, wrong

_TARGETS = {"dst": "target", "destination": "target", "src": "source", "ro": "readonly",
            "rw": "readwrite"}  # fmt: skip
_KNOWN = {
    BIND: {"target", "source", "from", "readonly", "readwrite"},
    CACHE: {"target", "id", "readonly", "readwrite", "sharing", "from", "source", "mode", "uid",
            "gid"},
    TMPFS: {"target", "size"},
    SECRET: {"target", "id", "required", "mode", "uid", "gid", "env"},
    SSH: {"target", "id", "required", "mode", "uid", "gid"},
}  # fmt: skip
_SWITCHES = {"readonly", "readwrite", "required"}
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30,
          "gb": 1 << 30}  # fmt: skip


def read_mount(text: str, line: int, expand: Expand) -> RunMount:
    """The mount that `--mount=text` asks for. InvalidSpec names the line."""
    words = _words(text, line, expand)
    kind = words.pop("type", BIND)
    if kind not in _KNOWN:
        raise wrong(line, f"--mount=type={kind:.20}: {', '.join(_KNOWN)}")
    for name in words:
        if name not in _KNOWN[kind]:
            raise wrong(line, f"--mount=type={kind} has no {name:.40}",
                        f"known here: {', '.join(sorted(_KNOWN[kind]))}")  # fmt: skip
    on = {name: _switch(words[name], name, line) for name in _SWITCHES & set(words)}
    target, id = words.get("target", ""), words.get("id", "")
    sharing = words.get("sharing", SHARED)
    if sharing not in (SHARED, PRIVATE, LOCKED):
        raise wrong(line, f"sharing={sharing:.20}: shared, private or locked")
    if kind == SECRET:
        id = id or posixpath.basename(target)
        if not id:
            raise wrong(line, "--mount=type=secret has no id", "id=NAME")
    env = words.get("env", "")
    if env and not env.replace("_", "a").isalnum():
        raise wrong(line, f"env={env:.40} is no name of a variable")
    readonly = on.get("readonly", not on["readwrite"] if "readwrite" in on else kind == BIND)
    return RunMount(
        kind=kind, target=target, source=words.get("source", ""), base=words.get("from", ""),
        id=id or (posixpath.normpath(posixpath.join("/", target)) if kind == CACHE else "default"),
        readonly=readonly, sharing=sharing, mode=_mode(words, line), uid=_number(words, "uid", line),
        gid=_number(words, "gid", line), size=_size(words.get("size", "0"), line),
        required=on.get("required", False), env=env,
    )  # fmt: skip


def _words(text: str, line: int, expand: Expand) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        parts = next(csv.reader([text]), [])
    except csv.Error:
        raise wrong(line, f"--mount={text:.60} is no list of NAME=VALUE") from None
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip().lower()
        name = _TARGETS.get(name, name)
        if not equals and name not in _SWITCHES:
            raise wrong(line, f"--mount: {part:.40} is no NAME=VALUE")
        if name in found:
            raise wrong(line, f"--mount has two of {name:.40}")
        found[name] = expand(value)
    return found


def _switch(word: str, name: str, line: int) -> bool:
    if word.lower() not in ("", "true", "false", "1", "0"):
        raise wrong(line, f"{name}={word:.20}: true or false")
    return word.lower() not in ("false", "0")


def _mode(words: Mapping[str, str], line: int) -> int | None:
    digits = words.get("mode")
    if digits is None:
        return None
    if not digits or not set(digits) <= set("01234567") or int(digits, 8) > 0o7777:
        raise wrong(line, f"mode={digits:.20} is no mode", "such as 0755")
    return int(digits, 8)


def _number(words: Mapping[str, str], name: str, line: int) -> int:
    word = words.get(name, "0")
    if not (word.isascii() and word.isdecimal()) or int(word) >= (1 << 32) - 1:
        raise wrong(line, f"{name}={word:.20} is no number of a user or group")
    return int(word)


def _size(word: str, line: int) -> int:
    digits = word.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = _UNITS.get(word[len(digits) :].lower())
    if unit is None or not (digits.isascii() and digits.isdecimal()) or len(digits) > 15:
        raise wrong(line, f"size={word:.20} is no size", "such as 64m")
    return int(digits) * unit
