"""What an OCI runtime answers, as values; made of its JSON, with suspicion.

Owns the decoding: what is missing has its empty value, what is of another type than the contract
says is an error that names the runtime. Unknown members are kept where a reader may want them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mobyshell.core.errors import MobyshellError


@dataclass(frozen=True, slots=True)
class Version:
    """`--version`: of the program, the commit it was built from, the specification it follows."""

    program: str
    version: str
    commit: str = ""
    spec: str = ""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """A container (runtime.md#state). `created` as RFC 3339; `pid` is 0 once it has stopped."""

    id: str
    status: str
    pid: int = 0
    bundle: str = ""
    rootfs: str = ""
    created: str = ""
    owner: str = ""
    oci_version: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """A line of `events`: kind is stats or oom; `data` as the runtime says it (runc-events(8))."""

    kind: str
    id: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Features:
    """`features` (features.md): what a runtime can do. `document`: all of it, as it came."""

    oci_version_min: str
    oci_version_max: str
    hooks: tuple[str, ...] = ()
    mount_options: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)


def version(text: str) -> Version:
    """Of three lines: `PROGRAM version X`, `commit: X`, `spec: X`, the last two in any order."""
    lines = text.splitlines()
    program, _, number = (lines[0] if lines else "").partition(" version ")
    if not number:
        raise MobyshellError(f"no version of an OCI runtime: {text[:100]!r}")
    named = {
        name.strip(): value.strip()
        for name, colon, value in (line.partition(":") for line in lines[1:])
        if colon
    }
    return Version(
        program.strip(), number.strip(), named.get("commit", ""), named.get("spec", "")
    )  # fmt: skip


def state(document: Any) -> ContainerState:
    """Of the object that `state` and `list` give."""
    found = _object(document)
    return ContainerState(
        id=_text(found, "id"), status=_text(found, "status"), pid=_number(found, "pid"),
        bundle=_text(found, "bundle"), rootfs=_text(found, "rootfs"),
        created=_text(found, "created"), owner=_text(found, "owner"),
        oci_version=_text(found, "ociVersion"), annotations=_texts(found, "annotations"),
    )  # fmt: skip


def states(document: Any) -> tuple[ContainerState, ...]:
    """Of the array of `list`, which is null when it is empty."""
    return tuple(state(one) for one in _array(document))


def pids(document: Any) -> tuple[int, ...]:
    """Of the array of `ps`."""
    found = _array(document)
    if not all(type(one) is int for one in found):
        raise _wrong("a list of pids", document)
    return tuple(found)


def event(document: Any) -> RuntimeEvent:
    """Of one line of `events`."""
    found = _object(document)
    return RuntimeEvent(_text(found, "type"), _text(found, "id"), _object(found.get("data") or {}))


def features(document: Any) -> Features:
    """Of the object of `features`."""
    found = _object(document)
    linux = _object(found.get("linux") or {})
    return Features(
        _text(found, "ociVersionMin"), _text(found, "ociVersionMax"), _words(found, "hooks"),
        _words(found, "mountOptions"), _words(linux, "namespaces"), _words(linux, "capabilities"),
        _texts(found, "annotations"), found,
    )  # fmt: skip


def _wrong(wanted: str, found: object) -> MobyshellError:
    return MobyshellError(f"the runtime's answer is not {wanted}: {found!r:.100}")


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _wrong("an object", document)
    return document


def _array(document: Any) -> list[Any]:
    if document is None:
        return []
    if not isinstance(document, list):
        raise _wrong("a list", document)
    return document


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name) or ""
    if not isinstance(value, str):
        raise _wrong(f"a text at {name}", value)
    return value


def _number(document: dict[str, Any], name: str) -> int:
    value = document.get(name) or 0
    if type(value) is not int:
        raise _wrong(f"a number at {name}", value)
    return value


def _words(document: dict[str, Any], name: str) -> tuple[str, ...]:
    found = _array(document.get(name))
    if not all(isinstance(one, str) for one in found):
        raise _wrong(f"a list of words at {name}", found)
    return tuple(found)


def _texts(document: dict[str, Any], name: str) -> dict[str, str]:
    found = _object(document.get(name) or {})
    if not all(isinstance(one, str) for one in found.values()):
        raise _wrong(f"texts at {name}", found)
    return found
