"""A config.json, or a process.json, as a program in Go reads it: what is absent is zero.

The library's model is stricter, and right; but what containerd, docker and podman write, and what
their tests write by hand, was made for runc.
"""

from __future__ import annotations

from typing import Any

from mobyshell.core.oci import Process, Spec
from mobyshell.core.oci.spec import read_document, spec_of


def load(bundle: str) -> Spec:
    """The spec of a bundle. NotFound, InvalidSpec."""
    return of(read_document(bundle))


def of(document: Any) -> Spec:
    """The spec that a config.json says, which it is completed in place for. InvalidSpec."""
    if isinstance(document, dict):
        document.setdefault("ociVersion", "")
        _complete(document.get("process"))
        _without_empty_paths(document.get("linux"))
    return spec_of(document, "config.json")


def _complete(process: Any) -> None:
    if not isinstance(process, dict):
        return
    if process.get("user") is None:
        process["user"] = {}
    if isinstance(process["user"], dict):
        process["user"].setdefault("uid", 0)
        process["user"].setdefault("gid", 0)


def _without_empty_paths(linux: Any) -> None:
    """A namespace whose path is "" is a new one."""
    namespaces = linux.get("namespaces") if isinstance(linux, dict) else None
    for one in namespaces if isinstance(namespaces, list) else ():
        if isinstance(one, dict) and one.get("path") == "":
            del one["path"]


def load_process(path: str) -> Process:
    """The process in the file `path`. OSError, InvalidSpec."""
    from mobyshell.core.errors import InvalidSpec
    from mobyshell.core.oci.kinds import Problem, decode_object
    from mobyshell.core.oci.safejson import read_json

    with open(path, "rb") as file:
        document = read_json(file.read(), path)
    _complete(document)
    problems: list[Problem] = []
    process = decode_object(Process, document, "process", "config.md#process", problems)
    if process is None or problems:
        raise InvalidSpec(
            f"{path}: {problems[0] if problems else 'not a process'}",
            problems=[str(one) for one in problems],
        )
    return process
