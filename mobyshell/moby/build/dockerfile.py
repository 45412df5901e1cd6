"""Dockerfiles: the common subset, read into stages.

FROM (with AS, --platform), RUN, COPY (--from, --chown, --chmod), ADD of local files, ENV, ARG,
WORKDIR, USER, LABEL, EXPOSE, VOLUME, ENTRYPOINT, CMD, SHELL, STOPSIGNAL. What else there is
(HEALTHCHECK, ONBUILD, URLs, mounts, here-documents) is refused by name, not passed over.
https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from mobyshell.core.errors import InvalidSpec
from mobyshell.moby.build.steps import (
    DEFAULT_SHELL,
    Argument,
    Copy,
    Run,
    Set,
    Shell,
    Stage,
    Step,
    Workdir,
)
from mobyshell.moby.build.words import (
    LARGEST,
    instructions,
    json_list,
    options,
    pairs,
    substitute,
    words,
    wrong,
)

_HERE = re.compile(r"(^|\s)<<-?['\"]?[A-Za-z_]")
_GIVEN = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
"""Arguments that may be given though no ARG names them."""

_FROM = frozenset({"platform"})
_RUN = frozenset({"network"})
_COPY = frozenset({"from", "chown", "chmod"})
_ADD = frozenset({"chown", "chmod"})


def parse_dockerfile(text: str, arguments: Mapping[str, str] | None = None) -> list[Stage]:
    """The stages of a Dockerfile. `arguments` are for its ARGs. InvalidSpec names the line."""
    if len(text.encode("utf-8", "surrogateescape")) > LARGEST:
        raise InvalidSpec(f"a Dockerfile of more than {LARGEST} bytes")
    parser = _Parser(dict(arguments or {}))
    for line, word, rest in instructions(text):
        parser.take(line, word, rest)
    return parser.finish()


class _Parser:
    def __init__(self, given: dict[str, str]) -> None:
        self._given = given
        self._used: set[str] = set()
        self._global: dict[str, str] = {}
        self._stages: list[Stage] = []
        self._open: Stage | None = None
        self._steps: list[Step] = []
        self._variables: dict[str, str] = {}
        self._shell: tuple[str, ...] = DEFAULT_SHELL

    def take(self, line: int, word: str, rest: str) -> None:
        if word == "FROM":
            self._begin(line, rest)
            return
        if word == "ARG":
            self._argument(line, rest)
            return
        if self._open is None:
            raise wrong(line, f"{word} before FROM", "only ARG may stand there")
        read = _READERS.get(word)
        if read is None:
            known = word in ("HEALTHCHECK", "ONBUILD", "MAINTAINER")
            raise wrong(line, f"{word} is not supported" if known else f"{word:.40} is no instruction",
                        "use LABEL" if word == "MAINTAINER" else "")  # fmt: skip
        if word in ("RUN", "COPY", "ADD") and _HERE.search(rest):
            raise wrong(
                line, "here-documents are not supported", "put it into a file, and COPY that"
            )
        self._steps.append(read(self, line, rest, f"{word} {rest}"))

    def finish(self) -> list[Stage]:
        self._end()
        if not self._stages:
            raise InvalidSpec("a Dockerfile without FROM")
        unknown = set(self._given) - self._used - set(_GIVEN)
        if unknown:
            raise InvalidSpec(f"no ARG in the Dockerfile names {', '.join(sorted(unknown))}")
        return self._stages

    def _end(self) -> None:
        if self._open is not None:
            one = self._open
            self._stages.append(
                Stage(one.base, one.name, tuple(self._steps), one.platform, one.line)
            )

    def _begin(self, line: int, rest: str) -> None:
        self._end()
        found, rest = options(rest, _FROM, line)
        parts = words(substitute(rest, self._global, line), line)
        name = ""
        if not parts:
            raise wrong(line, "FROM has no image", "its ARG may have no value")
        if len(parts) == 3 and parts[1].upper() == "AS":
            name = parts[2].lower()
        elif len(parts) != 1:
            raise wrong(line, "FROM takes an image, and a name after AS")
        platform = substitute(found.get("platform", ""), self._global, line)
        self._open = Stage(parts[0], name, (), platform, line)
        self._steps, self._variables, self._shell = [], {}, DEFAULT_SHELL

    def _argument(self, line: int, rest: str) -> None:
        for word in words(rest, line):
            name, equals, default = word.partition("=")
            self._used.add(name)
            known = self._variables if self._open is not None else self._global
            value = substitute(default, known, line) if equals else None
            if name in self._given:
                value = self._given[name]
            elif value is None and self._open is not None:
                value = self._global.get(name)
            if value is None:
                continue
            known[name] = value
            if self._open is not None:
                self._steps.append(Argument(text=f"ARG {word}", line=line, name=name, value=value))

    def _in(self, text: str, line: int) -> str:
        return substitute(text, self._variables, line)

    def env(self, line: int, rest: str, text: str) -> Step:
        found = dict(pairs(self._in(rest, line), line))
        self._variables.update(found)
        return Set(text=text, line=line, member="env", value=found)

    def label(self, line: int, rest: str, text: str) -> Step:
        return Set(text=text, line=line, member="labels", value=pairs(self._in(rest, line), line))

    def user(self, line: int, rest: str, text: str) -> Step:
        return Set(text=text, line=line, member="user", value=self._one(line, rest))

    def stop_signal(self, line: int, rest: str, text: str) -> Step:
        return Set(text=text, line=line, member="stop_signal", value=self._one(line, rest))

    def workdir(self, line: int, rest: str, text: str) -> Step:
        return Workdir(text=text, line=line, path=self._one(line, rest))

    def expose(self, line: int, rest: str, text: str) -> Step:
        found = []
        for word in words(self._in(rest, line), line):
            number, _, protocol = word.partition("/")
            ends = number.split("-")
            if not all(one.isdecimal() and int(one) < 65536 for one in ends) or len(ends) > 2 or (
                protocol not in ("", "tcp", "udp", "sctp")
            ):  # fmt: skip
                raise wrong(line, f"{word!r:.40} is no port", "such as 80, 53/udp, 8000-8010")
            found.append(f"{number}/{protocol or 'tcp'}")
        return Set(text=text, line=line, member="exposed_ports", value=frozenset(found))

    def volume(self, line: int, rest: str, text: str) -> Step:
        listed = json_list(rest)
        found = tuple(self._in(one, line) for one in listed) if listed is not None else tuple(
            words(self._in(rest, line), line)
        )  # fmt: skip
        if not found or not all(found):
            raise wrong(line, "VOLUME has no path")
        return Set(text=text, line=line, member="volumes", value=frozenset(found))

    def cmd(self, line: int, rest: str, text: str) -> Step:
        return Set(text=text, line=line, member="cmd", value=self._command(rest))

    def entrypoint(self, line: int, rest: str, text: str) -> Step:
        return Set(text=text, line=line, member="entrypoint", value=self._command(rest))

    def _command(self, rest: str) -> tuple[str, ...]:
        listed = json_list(rest)
        return listed if listed is not None else (*self._shell, rest)

    def shell(self, line: int, rest: str, text: str) -> Step:
        listed = json_list(rest)
        if not listed:
            raise wrong(line, "SHELL takes a list", '["/bin/bash", "-c"]')
        self._shell = listed
        return Shell(text=text, line=line, args=listed)

    def run(self, line: int, rest: str, text: str) -> Step:
        found, rest = options(rest, _RUN, line)
        network = found.get("network", "")
        if network not in ("", "none", "host", "default"):
            raise wrong(line, f"--network={network:.20}: none, host or default")
        listed = json_list(rest)
        if not rest:
            raise wrong(line, "RUN has no command")
        if listed is not None:
            if not listed:
                raise wrong(line, "RUN has no command")
            return Run(text=text, line=line, args=listed, network=network)
        return Run(text=text, line=line, args=(*self._shell, rest), shell=True, network=network)

    def copy(self, line: int, rest: str, text: str) -> Step:
        return self._files(line, rest, text, _COPY, unpack=False)

    def add(self, line: int, rest: str, text: str) -> Step:
        step = self._files(line, rest, text, _ADD, unpack=True)
        for path in step.paths:
            if "://" in path or path.startswith("git@"):
                raise wrong(line, f"ADD does not fetch {path:.60}", "fetch it before, and COPY it")
        return step

    def _files(
        self, line: int, rest: str, text: str, known: frozenset[str], *, unpack: bool
    ) -> Copy:
        found, rest = options(rest, known, line)
        listed = json_list(rest)
        if listed is None:
            listed = tuple(words(self._in(rest, line), line))
        else:
            listed = tuple(self._in(one, line) for one in listed)
        if len(listed) < 2 or not all(listed):
            raise wrong(line, "sources and a target are needed", "COPY SOURCE… TARGET")
        mode = None
        if "chmod" in found:
            digits = self._in(found["chmod"], line)
            if not digits or not set(digits) <= set("01234567") or int(digits, 8) > 0o7777:
                raise wrong(line, f"--chmod={digits:.20} is no mode", "such as 0755")
            mode = int(digits, 8)
        if len(listed) > 2 and not listed[-1].endswith("/"):
            raise wrong(line, "of several sources the target is a directory", "let it end in /")
        return Copy(
            text=text, line=line, paths=listed[:-1], target=listed[-1],
            source=self._in(found.get("from", ""), line), mode=mode,
            owner=self._in(found.get("chown", ""), line), unpack=unpack,
        )  # fmt: skip

    def _one(self, line: int, rest: str) -> str:
        found = words(self._in(rest, line), line)
        if len(found) != 1 or not found[0]:
            raise wrong(line, "one word is needed")
        return found[0]


_READERS: dict[str, Callable[[_Parser, int, str, str], Step]] = {
    "ENV": _Parser.env, "LABEL": _Parser.label, "USER": _Parser.user, "CMD": _Parser.cmd,
    "STOPSIGNAL": _Parser.stop_signal, "WORKDIR": _Parser.workdir, "EXPOSE": _Parser.expose,
    "VOLUME": _Parser.volume, "ENTRYPOINT": _Parser.entrypoint, "SHELL": _Parser.shell,
    "RUN": _Parser.run, "COPY": _Parser.copy, "ADD": _Parser.add,
}  # fmt: skip
