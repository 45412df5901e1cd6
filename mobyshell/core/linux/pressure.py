"""Pressure stall information: how much time was lost waiting for CPU, memory and I/O.

Owns reading and parsing of /proc/pressure and of a v2 group's `*.pressure`. Never decides what is
much. Source: the kernel's Documentation/accounting/psi.rst.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from mobyshell.core.errors import SyscallFailed, Unsupported
from mobyshell.core.linux import cgroups

RESOURCES = ("cpu", "memory", "io")
HOST = "/proc/pressure"
_LINES = ("some", "full")


@dataclass(frozen=True, slots=True)
class Stall:
    """Time in which tasks waited: shares of the last 10, 60 and 300 seconds in percent, and all of
    it since boot in microseconds."""

    avg10: float
    avg60: float
    avg300: float
    total_us: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """`some`: at least one task waited; `full`: all that were not idle did, so that nothing went
    on (None where the kernel does not say it)."""

    some: Stall
    full: Stall | None = None


def parse(text: str) -> Pressure | None:
    """What a pressure file says; None if it has no line `some`."""
    found: dict[str, Stall] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        values = dict(word.partition("=")[::2] for word in rest.split())
        if name not in _LINES:
            continue
        try:
            found[name] = Stall(float(values["avg10"]), float(values["avg60"]),
                                float(values["avg300"]), int(values["total"]))  # fmt: skip
        except (KeyError, ValueError):
            continue  # a later kernel may say something else there
    return Pressure(found["some"], found.get("full")) if "some" in found else None


def of_host(directory: str = HOST) -> dict[str, Pressure]:
    """The machine's pressure by resource. Unsupported, with how to get it, where there is none."""
    if not os.path.isdir(directory):
        raise Unsupported("this kernel tells no pressure (PSI): there is no /proc/pressure",
                          hint=how_to_get_it())  # fmt: skip
    found = _read(directory, "")
    if not found:
        raise Unsupported("this kernel tells no pressure (PSI): /proc/pressure says nothing",
                          hint=how_to_get_it())  # fmt: skip
    return found


def of_group(path: str, resources: Sequence[str] = RESOURCES) -> dict[str, Pressure]:
    """The pressure in the v2 group at `path`, by resource; empty where it is not told."""
    return _read(path, ".pressure", resources)


def _read(directory: str, suffix: str, resources: Sequence[str] = RESOURCES) -> dict[str, Pressure]:
    found = {}
    for resource in resources:
        try:
            one = parse(cgroups.read(directory, f"{resource}{suffix}"))
        except SyscallFailed:
            continue  # not told on this kernel (EOPNOTSUPP where it is off), or the group is gone
        if one is not None:
            found[resource] = one
    return found


def how_to_get_it(config: str | None = None) -> str:
    """What makes this kernel tell it; `config` is the kernel's configuration, read if not given."""
    text = _kernel_config() if config is None else config
    if "CONFIG_PSI=y" in text:
        if "CONFIG_PSI_DEFAULT_DISABLED=y" in text:
            return "it is built in and off: boot with psi=1 on the kernel's command line"
        return "it is built in: look for psi=0 on the kernel's command line, and leave it away"
    if text:
        return "a kernel (4.20 or later) built with CONFIG_PSI=y"
    return "a kernel built with CONFIG_PSI=y, booted with psi=1 where it is off by default"


def _kernel_config() -> str:
    import gzip

    try:
        with gzip.open("/proc/config.gz", "rt", errors="replace") as file:
            return file.read()
    except (OSError, EOFError):
        pass  # without CONFIG_IKCONFIG_PROC; distributions put it beside the kernel
    try:
        with open(f"/boot/config-{os.uname().release}", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
