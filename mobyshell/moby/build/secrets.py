"""Secrets of a build: given on the command line, seen by the RUNs that ask for them, kept nowhere.

Owns where one comes from, and the files that containers see while they run: in the state directory
(memory, where /run is), for the owner alone. What a killed build left the next one removes.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.core.errors import SyscallFailed, UsageError
from mobyshell.core.store.snapshots.directories import Directories

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant

_LARGEST = 500 << 10
"""Bytes of a secret, as BuildKit has it."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is: in a file, or in a variable of the caller's environment."""

    path: str = ""
    variable: str = ""

    def read(self) -> bytes:
        """What it is. UsageError, SyscallFailed."""
        if self.variable:
            value = os.environ.get(self.variable)
            if value is None:
                raise UsageError(f"there is no {self.variable:.60} in the environment")
            return os.fsencode(value)
        try:
            with open(self.path, "rb") as file:
                found = file.read(_LARGEST + 1)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=self.path) from None
        if len(found) > _LARGEST:
            raise UsageError(f"{self.path:.100} is larger than {_LARGEST} bytes")
        return found


def read_secret(word: str) -> tuple[str, Secret]:
    """The id and the place of `id=ID[,src=FILE|,env=NAME]`, as docker takes it: without a place it is
    the variable ID, or else the file ID. UsageError."""
    found: dict[str, str] = {}
    for part in word.split(","):
        name, equals, value = part.partition("=")
        name = {"source": "src"}.get(name, name)
        if not equals or name not in ("id", "src", "env", "type") or name in found:
            raise UsageError(f"--secret {word:.60}", hint="id=ID,src=FILE or id=ID,env=NAME")
        found[name] = value
    id, kind = found.get("id", ""), found.get("type", "")
    source, variable = found.get("src", ""), found.get("env", "")
    if not id or kind not in ("", "file", "env") or (source and variable):
        raise UsageError(f"--secret {word:.60}", hint="id=ID,src=FILE or id=ID,env=NAME")
    if kind == "env":
        return id, Secret(variable=variable or source or id)
    if not source and not variable and not kind and id in os.environ:
        return id, Secret(variable=id)
    return id, Secret(variable=variable) if variable else Secret(path=source or id)


def _places(held: Tenant) -> Directories:
    return Directories(Path(held.state) / held.store.name / "build-secrets")


def directory(held: Tenant, stack: ExitStack) -> Path:
    """A directory for secrets, gone when `stack` ends. Those of killed builds go now."""
    places = _places(held)
    for path in places.clean(set()):
        places.remove(path)
    return stack.enter_context(places.new())
