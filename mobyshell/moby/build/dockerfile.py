"""Dockerfiles read into stages. docs/build.md has the table of what is supported.

Owns what is about stages: FROM, ARG and its scopes, ONBUILD. What the other instructions mean by
themselves is in `reading`. Pure: what the bases are like is asked for by `Bases`.
https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci.image_config import ImageProcess
from mobyshell.core.oci.platform import host_platform, parse_platform
from mobyshell.moby.build.instructions import Instruction, instructions
from mobyshell.moby.build.reading import Reader, Scope
from mobyshell.moby.build.settings import environment_of
from mobyshell.moby.build.stages import stage_of
from mobyshell.moby.build.steps import (
    DEFAULT_SHELL,
    SCRATCH,
    Argument,
    Set,
    Stage,
    Step,
)
from mobyshell.moby.build.variables import expand
from mobyshell.moby.build.words import LARGEST, flags, split, wrong

Bases: TypeAlias = Callable[[str, str], "ImageProcess | None"]
"""(image, platform or "") → its configuration; None if it is not here."""

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_UNSEEN = frozenset(_PROXIES) | {one.lower() for one in _PROXIES}
"""Arguments that RUN has though no ARG names them, and that no layer depends on."""
EPOCH = "SOURCE_DATE_EPOCH"
"""The argument that `image build` itself takes as its --epoch."""
_FROM = frozenset({"platform"})


def parse_dockerfile(
    text: str, arguments: Mapping[str, str] | None = None, *, platform: str = "",
    bases: Bases = lambda name, platform: None,
) -> list[Stage]:  # fmt: skip
    """The stages of a Dockerfile. `arguments` are for its ARGs; `platform` is for which it is built
    (default: this machine's). InvalidSpec names the line."""
    if len(text.encode("utf-8", "surrogateescape")) > LARGEST:
        raise InvalidSpec(f"a Dockerfile of more than {LARGEST} bytes")
    parser = _Parser(dict(arguments or {}), platform, bases)
    for one in instructions(text):
        parser.take(one)
    return parser.finish()


def predefined(platform: str) -> dict[str, str]:
    """The arguments that say for which machine, and on which, an image is built."""
    found: dict[str, str] = {}
    for word, one in (
        ("TARGET", parse_platform(platform) if platform else host_platform()),
        ("BUILD", host_platform()),
    ):
        found |= {f"{word}PLATFORM": str(one), f"{word}OS": one.os,
                  f"{word}ARCH": one.architecture, f"{word}VARIANT": one.variant or ""}  # fmt: skip
    return found


class _Parser:
    def __init__(self, given: dict[str, str], platform: str, bases: Bases) -> None:
        self._given, self._platform, self._bases = given, platform, bases
        self._used: set[str] = set()
        self._global = predefined(platform)
        self._stages: list[Stage] = []
        self._finished: list[Scope] = []
        self._triggers: list[list[str]] = []
        self._open: Stage | None = None
        self._steps: list[Step] = []
        self._scope = Scope()
        self._reader = Reader(self._scope)

    def take(self, one: Instruction) -> None:
        if one.word == "FROM":
            self._begin(one)
        elif one.word == "ARG":
            self._argument(one)
        elif self._open is None:
            raise wrong(one.line, f"{one.word:.40} before FROM", "only ARG may stand there")
        elif one.word == "ONBUILD":
            self._on_build(one)
        else:
            self._steps.append(self._reader.read(one))

    def finish(self) -> list[Stage]:
        self._end()
        if not self._stages:
            raise InvalidSpec("a Dockerfile without FROM")
        unknown = set(self._given) - self._used - _UNSEEN - {EPOCH}
        if unknown:
            raise InvalidSpec(f"no ARG in the Dockerfile names {', '.join(sorted(unknown))}")
        return self._stages

    def _end(self) -> None:
        if self._open is not None:
            one = self._open
            self._stages.append(
                Stage(one.base, one.name, tuple(self._steps), one.platform, one.line, True)
            )
            self._finished.append(self._scope)

    def _begin(self, one: Instruction) -> None:
        self._end()
        found, rest = flags(one.rest, _FROM, one.line)
        parts = [self._globally(word, one) for word in split(rest, one.line, escape=one.escape)]
        name = ""
        if not parts or not parts[0]:
            raise wrong(one.line, "FROM has no image", "its ARG may have no value")
        if len(parts) == 3 and parts[1].upper() == "AS":
            name = parts[2].lower()
        elif len(parts) != 1:
            raise wrong(one.line, "FROM takes an image, and a name after AS")
        platform = self._globally(found.one("platform"), one) or self._platform
        self._open = Stage(parts[0], name, (), platform, one.line)
        self._steps = []
        unseen = {name: value for name, value in self._given.items() if name in _UNSEEN}
        self._scope, triggers = self._base(parts[0], platform)
        self._scope.unseen = unseen
        self._reader = Reader(self._scope)
        self._triggers.append([])
        for text in triggers:
            for each in instructions(text):
                self._triggered(each, one.line)

    def _base(self, base: str, platform: str) -> tuple[Scope, list[str]]:
        """What a stage begins with, and what its base asks for."""
        by_name = {one.name: at for at, one in enumerate(self._stages) if one.name}
        earlier = stage_of(base, by_name, len(self._stages))
        if earlier is not None:
            before = self._finished[earlier]
            scope = Scope(dict(before.args), dict(before.env), before.shell)
            return scope, self._triggers[earlier]
        found = self._bases(base, platform) if base != SCRATCH else None
        if found is None:
            return Scope(), []
        shell = found.shell or DEFAULT_SHELL
        return Scope(env=environment_of(found), shell=shell), list(found.on_build or ())

    def _triggered(self, one: Instruction, line: int) -> None:
        _check_trigger(one.word, line)
        here = Instruction(line, one.word, one.rest, one.documents, one.escape)
        if one.word == "ARG":
            self._argument(here)
        else:
            self._steps.append(self._reader.read(here))

    def _on_build(self, one: Instruction) -> None:
        word, _, rest = one.rest.partition(" ")
        _check_trigger(word.upper(), one.line)
        trigger = Instruction(one.line, word.upper(), rest.strip(), one.documents, one.escape)
        if trigger.word != "ARG":  # what is wrong is said now, and not to who uses the image
            scope = self._scope
            Reader(Scope(dict(scope.args), dict(scope.env), scope.shell)).read(trigger)
        self._triggers[-1].append(trigger.whole)
        self._steps.append(
            Set(text=one.text, line=one.line, member="on_build", value=(trigger.whole,))
        )

    def _argument(self, one: Instruction) -> None:
        if not one.rest:
            raise wrong(one.line, "ARG has no name")
        inside = self._open is not None
        for word in split(one.rest, one.line, escape=one.escape):
            name, equals, default = word.partition("=")
            self._used.add(name)
            known = {**self._scope.args, **self._scope.env} if inside else self._global
            value = expand(default, known, one.line, escape=one.escape) if equals else None
            if name in self._given:
                value = self._given[name]
            elif value is None and inside:
                value = self._global.get(name)
            if inside:
                self._scope.unseen.pop(name, None)  # named, it is seen
            if value is None:
                continue
            if not inside:
                self._global[name] = value
                continue
            self._scope.args[name] = value
            self._steps.append(Argument(text=f"ARG {word}", line=one.line, name=name, value=value))

    def _globally(self, text: str, one: Instruction) -> str:
        return expand(text, self._global, one.line, escape=one.escape)


def _check_trigger(word: str, line: int) -> None:
    if word in ("FROM", "ONBUILD", "MAINTAINER", ""):
        raise wrong(line, f"ONBUILD {word}: such a trigger cannot be".replace(" :", ":"))
