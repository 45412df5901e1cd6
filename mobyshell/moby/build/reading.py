"""Instructions of a Dockerfile read as steps: what each means by itself.

Owns one reader for each instruction that makes a step; FROM, ARG and ONBUILD, which are about the
stages, are `dockerfile`'s. What is not supported is refused by name, never passed over.
https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mobyshell.moby.build import modes
from mobyshell.moby.build.cloning import is_repository
from mobyshell.moby.build.healthcheck import read_healthcheck
from mobyshell.moby.build.instructions import Document, Instruction, here
from mobyshell.moby.build.mount_words import read_mount
from mobyshell.moby.build.ports import HINT, ports_of
from mobyshell.moby.build.steps import (
    DEFAULT_SHELL,
    SCRIPTS,
    Author,
    Copy,
    Inline,
    Run,
    Set,
    Step,
    Workdir,
)
from mobyshell.moby.build.variables import expand
from mobyshell.moby.build.words import Flags, flags, json_list, pairs, split, wrong

_RUN = frozenset({"network", "mount", "security"})
_COPY = frozenset({"from", "chown", "chmod", "link", "parents", "exclude"})
_ADD = frozenset({"chown", "chmod", "link", "exclude", "checksum", "keep-git-dir"})
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


@dataclass(slots=True)
class Scope:
    """What an instruction's words depend on: the stage so far. `unseen`: variables of RUN that no
    layer depends on."""

    args: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    shell: tuple[str, ...] = DEFAULT_SHELL
    unseen: dict[str, str] = field(default_factory=dict)


class Reader:
    """Reads the instructions of a stage."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._now = Instruction(0, "", "")

    def read(self, one: Instruction) -> Step:
        """The step. InvalidSpec names the line."""
        read = _READERS.get(one.word)
        if read is None:
            raise wrong(one.line, f"{one.word:.40} is no instruction")
        self._now = one
        return read(self, one)

    def _in(self, text: str) -> str:
        variables = {**self._scope.args, **self._scope.env}
        return expand(text, variables, self._now.line, escape=self._now.escape)

    def _words(self, one: Instruction) -> list[str]:
        return [self._in(word) for word in split(one.rest, one.line, escape=one.escape)]

    def _pairs(self, one: Instruction) -> dict[str, str]:
        return pairs(one.rest, one.line, self._in, one.escape)

    def _one(self, one: Instruction) -> str:
        found = self._words(one)
        if len(found) != 1 or not found[0]:
            raise wrong(one.line, "one word is needed")
        return found[0]

    def env(self, one: Instruction) -> Step:
        found = self._pairs(one)
        self._scope.env.update(found)
        return Set(text=one.text, line=one.line, member="env", value=found)

    def label(self, one: Instruction) -> Step:
        return Set(text=one.text, line=one.line, member="labels", value=self._pairs(one))

    def user(self, one: Instruction) -> Step:
        return Set(text=one.text, line=one.line, member="user", value=self._one(one))

    def stop_signal(self, one: Instruction) -> Step:
        return Set(text=one.text, line=one.line, member="stop_signal", value=self._one(one))

    def maintainer(self, one: Instruction) -> Step:
        if not one.rest:
            raise wrong(one.line, "MAINTAINER has no name")
        return Author(text=one.text, line=one.line, name=one.rest)

    def workdir(self, one: Instruction) -> Step:
        return Workdir(text=one.text, line=one.line, path=self._one(one))

    def expose(self, one: Instruction) -> Step:
        found: list[str] = []
        # of an instruction whose variables may hold several
        for word in " ".join(self._words(one)).split():
            ports = ports_of(word)
            if ports is None:
                raise wrong(one.line, f"{word!r:.40} is no port", HINT)
            found += ports
        if not found:
            raise wrong(one.line, "EXPOSE has no port")
        return Set(text=one.text, line=one.line, member="exposed_ports", value=frozenset(found))

    def volume(self, one: Instruction) -> Step:
        listed = json_list(one.rest)
        found = self._words(one) if listed is None else [self._in(word) for word in listed]
        if not found or not all(found):
            raise wrong(one.line, "VOLUME has no path")
        return Set(text=one.text, line=one.line, member="volumes", value=frozenset(found))

    def cmd(self, one: Instruction) -> Step:
        return Set(text=one.text, line=one.line, member="cmd", value=self._command(one.rest))

    def entrypoint(self, one: Instruction) -> Step:
        value = self._command(one.rest)
        return Set(text=one.text, line=one.line, member="entrypoint", value=value)

    def _command(self, rest: str) -> tuple[str, ...]:
        listed = json_list(rest)
        return listed if listed is not None else (*self._scope.shell, rest)

    def shell(self, one: Instruction) -> Step:
        listed = json_list(one.rest)
        if not listed:
            raise wrong(one.line, "SHELL takes a list", '["/bin/bash", "-c"]')
        self._scope.shell = listed
        return Set(text=one.text, line=one.line, member="shell", value=listed)

    def healthcheck(self, one: Instruction) -> Step:
        value = read_healthcheck(one.rest, one.line)
        return Set(text=one.text, line=one.line, member="healthcheck", value=value)

    # RUN

    def run(self, one: Instruction) -> Step:
        found, rest = flags(one.rest, _RUN, one.line)
        network = found.one("network")
        if network not in ("", "none", "host", "default"):
            raise wrong(one.line, f"--network={network:.20}: none, host or default")
        if found.one("security") not in ("", "sandbox"):
            raise wrong(one.line, "--security=insecure is not supported",
                        "a RUN has the rights of any container")  # fmt: skip
        mounts = tuple(read_mount(text, one.line, self._in) for text in found.all("mount"))
        script = None
        listed = json_list(rest) if not one.documents else None
        if not rest or listed == ():
            raise wrong(one.line, "RUN has no command")
        if listed is not None:
            args = listed
        elif one.documents and here(rest) is not None:
            document = one.documents[0]
            args = (*self._scope.shell, document.text)
            if document.raw.lstrip("\t" if document.cut else "").startswith("#!"):
                script = Inline(document.name, document.text)
                args = (f"{SCRIPTS}/{document.name}",)
        else:
            told = "".join(f"\n{each.raw}{each.name}" for each in one.documents)
            args = (*self._scope.shell, rest + told)
        return Run(
            text=one.text, line=one.line, args=args, shell=listed is None and script is None,
            network=network, mounts=mounts, script=script, unseen=dict(self._scope.unseen),
        )  # fmt: skip

    # COPY and ADD

    def copy(self, one: Instruction) -> Step:
        return self._files(one, *flags(one.rest, _COPY, one.line), unpack=False)

    def add(self, one: Instruction) -> Step:
        found, rest = flags(one.rest, _ADD, one.line)
        step = self._files(one, found, rest, unpack=True)
        if any(is_repository(path) for path in step.paths):
            if len(step.paths) > 1 or step.files:
                raise wrong(one.line, "a git repository is the one source of its ADD")
            return replace(step, repository=True, keep_git=found.on("keep-git-dir"))
        if found.all("keep-git-dir"):
            raise wrong(one.line, "--keep-git-dir is for a git repository")
        fetched = [path for path in step.paths if "://" in path]
        if step.checksum and (len(step.paths) != 1 or not fetched or step.files):
            raise wrong(one.line, "--checksum is for one URL")
        for path in fetched:
            if not path.startswith(("https://", "http://")):
                raise wrong(one.line, f"ADD does not fetch {path:.60}", "https:// or http://")
        return step

    def _files(self, one: Instruction, found: Flags, rest: str, *, unpack: bool) -> Copy:
        listed = json_list(rest)
        raw = split(rest, one.line, escape=one.escape) if listed is None else list(listed)
        documents = list(one.documents)
        files, paths = [], []
        for word in raw[:-1]:
            if documents and here(word):
                files.append(self._inline(one, documents.pop(0)))
            else:
                paths.append(self._in(word))
        target = self._in(raw[-1]) if raw else ""
        if len(raw) < 2 or not target or not all(paths) or documents:
            raise wrong(one.line, "sources and a target are needed", f"{one.word} SOURCE… TARGET")
        if len(raw) > 2 and not target.endswith("/") and target not in (".", ".."):
            raise wrong(one.line, "of several sources the target is a directory",
                        "let it end in /")  # fmt: skip
        checksum = self._in(found.one("checksum"))
        commit = any(is_repository(path) for path in paths)
        if checksum and not (_COMMIT if commit else _CHECKSUM).fullmatch(checksum):
            said = "a commit's digits" if commit else "sha256: and 64 digits"
            raise wrong(one.line, f"--checksum={checksum:.20}: {said}")
        if files and found.one("from"):
            raise wrong(one.line, "a here-document is from no other stage")
        return Copy(
            text=one.text, line=one.line, paths=tuple(paths), target=target, files=tuple(files),
            source=self._in(found.one("from")), mode=self._mode(one, found),
            owner=self._in(found.one("chown")), unpack=unpack, link=found.on("link"),
            parents=found.on("parents"), checksum=checksum,
            excluded=tuple(self._in(each) for each in found.all("exclude")),
        )  # fmt: skip

    def _inline(self, one: Instruction, document: Document) -> Inline:
        name, text = document.name, document.text
        if document.expand:
            variables = {**self._scope.args, **self._scope.env}
            text = expand(text, variables, one.line, quotes=False)
        if "/" in name or name in (".", ".."):
            raise wrong(one.line, f"{name:.40} is no file's name")
        return Inline(name, text)

    def _mode(self, one: Instruction, found: Flags) -> modes.Wanted | None:
        word = self._in(found.one("chmod"))
        if not word:
            return None
        try:
            return modes.parse(word)
        except ValueError:
            hint = "octal, such as 0755, or letters, such as u=rwX,go=rX"
            raise wrong(one.line, f"--chmod={word:.20} is no mode", hint) from None


_READERS: dict[str, Callable[[Reader, Instruction], Step]] = {
    "ENV": Reader.env, "LABEL": Reader.label, "USER": Reader.user, "CMD": Reader.cmd,
    "STOPSIGNAL": Reader.stop_signal, "WORKDIR": Reader.workdir, "EXPOSE": Reader.expose,
    "VOLUME": Reader.volume, "ENTRYPOINT": Reader.entrypoint, "SHELL": Reader.shell,
    "RUN": Reader.run, "COPY": Reader.copy, "ADD": Reader.add, "HEALTHCHECK": Reader.healthcheck,
    "MAINTAINER": Reader.maintainer,
}  # fmt: skip
