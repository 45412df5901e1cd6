"""build.yml: an image as a list of what is in it.

    from: scratch                      # or an image's name
    steps:
      - programs: [busybox]            # of this machine, with what they need
        links: {sh: busybox}           # further names, beside the first program
      - file: /etc/hostname
        content: moby
      - directory: /tmp
        mode: "1777"
      - copy: [config/, motd]
        to: /etc/
      - run: echo built > /built       # or a list of words
    env: {PATH: /bin}
    cmd: [sh]

Owns the format. What is not known is an error that names the place: nothing is passed over.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci.safeyaml import read_yaml
from mobyshell.moby.build.ports import HINT, ports_of
from mobyshell.moby.build.steps import (
    DEFAULT_SHELL,
    SCRATCH,
    Copy,
    Programs,
    Run,
    Set,
    Stage,
    Step,
    Workdir,
    Write,
)

_TOP = {"from", "platform", "steps", "env", "labels", "user", "workdir", "entrypoint", "cmd",
        "expose", "volumes", "stop_signal"}  # fmt: skip
_KINDS = {
    "programs": {"programs", "links"},
    "copy": {"copy", "to", "from", "owner", "mode"},
    "file": {"file", "content", "mode", "owner"},
    "directory": {"directory", "mode", "owner"},
    "run": {"run", "network"},
    "workdir": {"workdir"},
}


def parse_buildfile(text: str) -> list[Stage]:
    """The one stage of a build file. InvalidSpec names what is wrong and where."""
    document = read_yaml(text, "the build file")
    if not isinstance(document, dict):
        raise InvalidSpec("the build file is no mapping", hint="it begins with from:")
    _known(document, _TOP, "the build file")
    base = _text(document.get("from", SCRATCH), "from")
    steps = [
        _step(one, number) for number, one in enumerate(_list(document.get("steps", []), "steps"))
    ]
    steps += _settings(document)
    return [Stage(base, "", tuple(steps), _text(document.get("platform", ""), "platform"))]


def _step(document: Any, number: int) -> Step:
    where = f"steps[{number}]"
    if not isinstance(document, dict):
        raise InvalidSpec(f"{where} is no mapping")
    kinds = [one for one in _KINDS if one in document]
    # a copy may be from an image or a stage, and that is no kind of its own
    if len(kinds) != 1:
        raise InvalidSpec(f"{where} is none, or several, of {', '.join(_KINDS)}")
    kind = kinds[0]
    _known(document, _KINDS[kind], where)
    value = document[kind]
    text = f"{kind} {_shown(kind, value)}"
    if kind == "programs":
        names = tuple(_text(one, where) for one in _list(value, where))
        return Programs(text=text, names=names, links=_texts(document.get("links", {}), where))
    if kind == "run":
        network = _text(document.get("network", ""), where)
        if isinstance(value, str):
            return Run(text=text, args=(*DEFAULT_SHELL, value), shell=True, network=network)
        return Run(text=text, args=_words(value, where), network=network)
    if kind == "workdir":
        return Workdir(text=text, path=_text(value, where))
    mode, owner = _mode(document.get("mode"), where), _text(document.get("owner", ""), where)
    if kind == "copy":
        paths = (value,) if isinstance(value, str) else _words(value, where)
        return Copy(text=text, paths=paths, target=_text(document.get("to"), where), mode=mode,
                    owner=owner, source=_text(document.get("from", ""), where))  # fmt: skip
    if kind == "file":
        content = _text(document.get("content", ""), where)
        return Write(text=text, path=_text(value, where), content=content, owner=owner,
                     mode=0o644 if mode is None else mode)  # fmt: skip
    return Write(text=text, path=_text(value, where), content=None, owner=owner,
                 mode=0o755 if mode is None else mode)  # fmt: skip


def _mode(value: Any, where: str) -> int | None:
    """Octal digits as a text: what YAML makes of them without quotes depends on its version."""
    if value is None:
        return None
    digits = value.removeprefix("0o") if isinstance(value, str) else ""
    if not digits or not set(digits) <= set("01234567") or int(digits, 8) > 0o7777:
        raise InvalidSpec(f"{where}: {value!r:.20} is no mode", hint='octal, in quotes: "0644"')
    return int(digits, 8)


def _settings(document: Mapping[str, Any]) -> list[Step]:
    found: list[Step] = []

    def add(name: str, member: str, value: Any) -> None:
        found.append(Set(text=f"{name} {_shown(name, document[name])}", member=member, value=value))

    for name in ("env", "labels"):
        if name in document:
            add(name, name, _texts(document[name], name))
    for name, member in (("user", "user"), ("stop_signal", "stop_signal")):
        if name in document:
            add(name, member, _text(document[name], name))
    if "workdir" in document:
        path = _text(document["workdir"], "workdir")
        found.append(Workdir(text=f"workdir {path}", path=path))
    for name in ("entrypoint", "cmd"):
        if name in document:
            value = document[name]
            words = (*DEFAULT_SHELL, value) if isinstance(value, str) else _words(value, name)
            add(name, name, words)
    for name, member in (("expose", "exposed_ports"), ("volumes", "volumes")):
        if name in document:
            given = [str(one) if isinstance(one, int) else _text(one, name)
                     for one in _list(document[name], name)]  # fmt: skip
            if name == "expose":
                given = [port for one in given for port in _ports(one)]
            add(name, member, frozenset(given))
    return found


def _ports(word: str) -> list[str]:
    found = ports_of(word)
    if found is None:
        raise InvalidSpec(f"expose: {word!r:.40} is no port", hint=HINT)
    return found


def _known(document: Mapping[Any, Any], known: set[str], where: str) -> None:
    unknown = [str(one) for one in document if one not in known]
    if unknown:
        raise InvalidSpec(f"{where}: unknown {', '.join(unknown)[:100]}",
                          hint=f"known: {', '.join(sorted(known))}")  # fmt: skip


def _shown(kind: str, value: Any) -> str:
    """A step as an image's history tells it. What differs in effect differs in words: they are what
    a step is cached by."""
    if isinstance(value, dict):
        return " ".join(f"{key}={shlex.quote(str(one))}" for key, one in value.items())
    if not isinstance(value, list):
        return str(value)
    if kind in ("run", "cmd", "entrypoint"):  # a word is no shell's, as Dockerfiles write it
        return json.dumps(value, ensure_ascii=False, default=str)
    return shlex.join(map(str, value))


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InvalidSpec(f"{where}: {value!r:.60} is no text")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidSpec(f"{where} is a list")
    return value


def _words(value: Any, where: str) -> tuple[str, ...]:
    found = tuple(_text(one, where) for one in _list(value, where))
    if not found:
        raise InvalidSpec(f"{where}: there is nothing in the list")
    return found


def _texts(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InvalidSpec(f"{where} is a mapping of texts")
    return {_text(name, where): _text(one, where) for name, one in value.items()}
