"""HEALTHCHECK: how a container is asked whether it is well. Pure; the image remembers it.

https://docs.docker.com/reference/dockerfile/#healthcheck
"""

from __future__ import annotations

import re

from mobyshell.core.oci.image_config import Healthcheck
from mobyshell.moby.build.words import flags, json_list, wrong

_KNOWN = ("interval", "timeout", "start-period", "start-interval", "retries")
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9,
          "h": 3600 * 10**9}  # fmt: skip


def read_healthcheck(rest: str, line: int) -> Healthcheck:
    """What HEALTHCHECK says. InvalidSpec names the line."""
    found, rest = flags(rest, _KNOWN, line)
    word, _, command = rest.partition(" ")
    command = command.strip()
    if word.upper() == "NONE":
        if command:
            raise wrong(line, "HEALTHCHECK NONE takes nothing more")
        return Healthcheck(test=("NONE",))
    if word.upper() != "CMD" or not command:
        raise wrong(line, "HEALTHCHECK has no command", "CMD and a command, or NONE")
    listed = json_list(command)
    if listed is not None and not listed:
        raise wrong(line, "HEALTHCHECK has no command", "CMD and a command, or NONE")
    retries = found.one("retries") or "0"
    if not (retries.isascii() and retries.isdecimal()) or len(retries) > 9:
        raise wrong(line, f"--retries={retries:.20} is no number")
    times = {name: duration(found.one(name), f"--{name}", line) or None for name in _KNOWN[:4]}
    return Healthcheck(
        test=("CMD", *listed) if listed is not None else ("CMD-SHELL", command),
        interval=times["interval"], timeout=times["timeout"], start_period=times["start-period"],
        start_interval=times["start-interval"], retries=int(retries) or None,
    )  # fmt: skip


def duration(word: str, name: str, line: int) -> int:
    """Nanoseconds of a time as Go writes them (`1m30s`); 0 for none. At least a millisecond."""
    if word in ("", "0"):
        return 0
    total, at = 0, 0
    while at < len(word) and (found := _DURATION.match(word, at)):
        total, at = total + round(float(found[1]) * _UNITS[found[2]]), found.end()
    if at < len(word) or total >= 1 << 62:
        raise wrong(line, f"{name}={word:.20} is no time", "such as 30s or 1m30s")
    if 0 < total < 10**6:
        raise wrong(line, f"{name}={word:.20} is less than a millisecond")
    return total
