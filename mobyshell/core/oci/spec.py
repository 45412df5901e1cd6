"""The whole of a config.json, and the way in and out of it."""

from __future__ import annotations

import json
import os
import stat
from functools import lru_cache
from typing import Any

from mobyshell.core.errors import InvalidSpec, NotFound
from mobyshell.core.oci.kinds import (
    EnoughError,
    Problem,
    array,
    decode_object,
    encode,
    extras,
    mapping,
    member,
    record,
    text,
)  # fmt: skip
from mobyshell.core.oci.linux import Linux
from mobyshell.core.oci.process import Hooks, Mount, Process, Root
from mobyshell.core.oci.safejson import LARGEST, read_json
from mobyshell.core.values import named_value, replace


@named_value
class Spec:
    """A container as runtime-spec describes it. Absent members are None."""

    oci_version: str = member(
        "ociVersion", text(), "config.md#specification-version", required=True
    )
    process: Process | None = member("process", record(Process), "config.md#process")
    root: Root | None = member("root", record(Root), "config.md#root")
    hostname: str | None = member("hostname", text(), "config.md#hostname")
    domainname: str | None = member("domainname", text(), "config.md#domainname")
    mounts: tuple[Mount, ...] | None = member("mounts", array(record(Mount)), "config.md#mounts")
    hooks: Hooks | None = member("hooks", record(Hooks), "config.md#posix-platform-hooks")
    annotations: dict[str, str] | None = member(
        "annotations", mapping(text()), "config.md#annotations"
    )
    linux: Linux | None = member("linux", record(Linux), "config-linux.md")
    extra: dict[str, Any] = extras()


def check(document: Any) -> list[Problem]:
    """The problems of a document (as JSON values): first of its types, then of its sense.

    All of them, up to `kinds.MOST`; but an object that lacks a required member, or an array
    element that is wrong, is not looked into further.
    """
    return _judge(document)[1]


def _judge(document: Any) -> tuple[Spec | None, list[Problem]]:
    from mobyshell.core.oci.rules import apply_rules

    problems: list[Problem] = []
    try:
        spec = decode_object(Spec, document, "", "config.md", problems)
        rest = spec
        if rest is None and isinstance(document, dict):
            # without a version it is no spec, but the rest can be judged all the same
            rest = decode_object(Spec, {**document, "ociVersion": ""}, "", "config.md", [])
    except EnoughError:
        return None, problems
    if rest is not None:
        problems += apply_rules(rest, problems)
    return spec, problems


def parse_spec(content: str | bytes, what: str = "config.json") -> Spec:
    """The spec in `content`. InvalidSpec with every problem if it is not one."""
    return spec_of(read_json(content, what), what)


def spec_of(document: Any, what: str = "config.json") -> Spec:
    """The spec in JSON values. InvalidSpec with every problem if they are not one."""
    spec, problems = _judge(document)
    if problems or spec is None:
        raise InvalidSpec(
            f"{what}: {problems[0]}" + (f" (and {len(problems) - 1} more)" if problems[1:] else ""),
            hint=f"see {problems[0].section}; `mobyshell bundle validate` lists all",
            problems=[str(one) for one in problems],
        )
    return spec


def warnings_of(spec: Spec) -> list[Problem]:
    """What the spec discourages, or wants a warning about instead of an error."""
    from mobyshell.core.oci import rules

    return rules.warnings_of(spec)


def examine(bundle: str | os.PathLike[str]) -> tuple[list[Problem], list[Problem]]:
    """The problems and the warnings of a bundle's config.json. NotFound, InvalidSpec (no JSON)."""
    spec, problems = _judge(read_json(_content(bundle)))
    return problems, warnings_of(spec) if spec is not None and not problems else []


def load_spec(bundle: str | os.PathLike[str]) -> Spec:
    """The spec of a bundle. NotFound if there is no config.json, InvalidSpec if it is not valid."""
    content = _content(bundle)
    return _remembered(content) if len(content) <= _MOST_REMEMBERED else parse_spec(content)


def load_kept_spec(bundle: str | os.PathLike[str]) -> Spec:
    """`load_spec` of a directory that is ours alone: read again only if its file is another."""
    path = f"{os.fspath(bundle)}/config.json"
    try:
        found = os.stat(path)
    except OSError:
        return load_spec(bundle)  # it says what is wrong
    look = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return _looked_at(os.fspath(bundle), look)


@lru_cache(maxsize=64)
def _looked_at(bundle: str, look: tuple[int, ...]) -> Spec:
    return load_spec(bundle)


_MOST_REMEMBERED = 64 << 10
_CHUNK = 64 << 10


@lru_cache(maxsize=16)
def _remembered(content: bytes) -> Spec:
    """`parse_spec`, once for the same text: a spec is a value, and nobody changes it."""
    return parse_spec(content)


def read_spec(path: str | os.PathLike[str]) -> Spec:
    """The spec in a file of any name. NotFound, InvalidSpec."""
    shown = _shown(os.fspath(path))
    try:
        return parse_spec(_read_file(os.fspath(path)), shown)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise NotFound(
            f"no file {shown}", hint="`mobyshell bundle spec` prints one to begin with"
        ) from None
    except OSError as error:
        raise InvalidSpec(f"{shown} cannot be read: {error.strerror}") from None


def read_document(bundle: str | os.PathLike[str]) -> Any:
    """The config.json of a bundle as JSON values, not looked at. NotFound, InvalidSpec."""
    return read_json(_content(bundle), "config.json")


def _content(bundle: str | os.PathLike[str]) -> bytes:
    path = os.path.join(bundle, "config.json")
    try:
        return _read_file(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise NotFound(
            f"JSON specification file config.json not found in {_shown(os.fspath(bundle))}",
            hint="`mobyshell bundle new NAME` makes a bundle",
        ) from None
    except OSError as error:
        raise InvalidSpec(f"{_shown(path)} cannot be read: {error.strerror}") from None


def _read_file(path: str) -> bytes:
    """As much of a regular file as is ever parsed. What a bundle calls config.json may be a FIFO,
    which must not make us wait, or a device, which would have no end."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise InvalidSpec(f"{_shown(path)} is not a regular file")
        parts, left = [], LARGEST + 1
        # not all at once: memory for the most there may be would be made for the little there is
        while left and (part := os.read(file, min(left, _CHUNK))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(file)


def _shown(path: str) -> str:
    return path if path.isprintable() and path else repr(path)


def spec_to_json(value: Any) -> Any:
    """A spec, or any object of it, as JSON values."""
    return encode(value)


def dump_spec(spec: Spec) -> str:
    """The text of a config.json, indented with tabs as runc writes it."""
    return json.dumps(encode(spec), indent="\t", ensure_ascii=False)


def with_process(spec: Spec, *, args: tuple[str, ...] | None = None,
                 terminal: bool | None = None) -> Spec:  # fmt: skip
    """The same spec with another program, or another answer to whether it has a terminal."""
    if spec.process is None:
        return spec
    process = spec.process
    if args is not None:
        process = replace(process, args=args)
    if terminal is not None:
        process = replace(process, terminal=terminal)
    return replace(spec, process=process)
