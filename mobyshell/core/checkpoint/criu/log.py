"""What criu wrote into its log that people should read: its errors, and the lines before them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

_BEFORE = 5
_LARGEST = 64 << 20
_MOST = 60
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
GOES_ON = ("exited, status", "tun: ", "Unable to create a veth pair", "-95 reported by netlink",
            "rlimit: ")  # fmt: skip
"""Errors by name only: criu finds out by trial what a kernel can do."""
_CASCADE = 12
"""Lines between an error and the next that follows from it, at most."""


def excerpt(directory: str, name: str) -> tuple[list[str], str]:
    """(lines to quote, why it failed) of the log `name` in `directory`; both empty without one."""
    try:
        fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, errors="replace") as file:
            lines = file.read(_LARGEST).splitlines()
    except OSError:
        return [], ""
    errors = [at for at, line in enumerate(lines) if "Error" in line]
    wanted: dict[int, None] = {}
    for at in errors:
        wanted.update(dict.fromkeys(range(max(0, at - _BEFORE), at + 1)))
    quoted: list[str] = []
    last = -1
    for at in list(wanted)[-_MOST:]:
        if quoted and at != last + 1:
            quoted.append("...")
        quoted.append(f"{at + 1}:{_CONTROL.sub('?', lines[at])}")
        last = at
    return quoted, _cause(lines, errors)


def _cause(lines: Sequence[str], errors: Sequence[int]) -> str:
    """The first of the errors at the end: earlier ones are by name only, and the very last sums up."""
    left = [at for at in errors if not lines[at].endswith(" FAILED.") and not _by_name(lines[at])]
    if not left:
        return ""
    first = left[-1]
    for at in reversed(left):
        if first - at > _CASCADE:
            break
        first = at
    return _CONTROL.sub("?", _said(lines[first])).strip()


def _said(line: str) -> str:
    return line.rpartition("Error (")[2].partition("): ")[2]


def _by_name(line: str) -> bool:
    return _said(line).startswith(GOES_ON)
