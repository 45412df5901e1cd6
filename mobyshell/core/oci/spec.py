"""The whole of a config.json, and the way in and out of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import Any

from mobyshell.core.errors import InvalidSpec, NotFound
from mobyshell.core.oci.kinds import (
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


@dataclass(frozen=True, slots=True, kw_only=True)
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
    """Every problem of a document (as JSON values), in the order of the spec's members."""
    from mobyshell.core.oci.rules import apply_rules

    problems: list[Problem] = []
    spec = decode_object(Spec, document, "", "config.md", problems)
    if spec is not None and not problems:
        problems += apply_rules(spec)
    return problems


def parse_spec(content: str | bytes, what: str = "config.json") -> Spec:
    """The spec in `content`. InvalidSpec with every problem if it is not one."""
    from mobyshell.core.oci.rules import apply_rules

    document = read_json(content, what)
    problems: list[Problem] = []
    spec = decode_object(Spec, document, "", "config.md", problems)
    if spec is not None and not problems:
        problems = apply_rules(spec)
    if problems or spec is None:
        raise InvalidSpec(
            f"{what}: {problems[0]}" + (f" (and {len(problems) - 1} more)" if problems[1:] else ""),
            hint=f"see {problems[0].section}; `mobyshell bundle validate` lists all",
            problems=[str(one) for one in problems],
        )
    return spec


def load_spec(bundle: str | os.PathLike[str]) -> Spec:
    """The spec of a bundle. NotFound if there is no config.json, InvalidSpec if it is not valid."""
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"JSON specification file config.json not found in {os.fspath(bundle)}",
            hint="`mobyshell bundle new NAME` makes a bundle",
        ) from None
    except OSError as error:
        raise InvalidSpec(f"{path} cannot be read: {error.strerror}") from None
    return parse_spec(content)


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
