"""What criu wrote into its log that people should read: its errors, and the lines before them."""

from __future__ import annotations

import os
import re

_BEFORE = 5
_LARGEST = 64 << 20
_MOST = 60
_GOES_ON = (": rlimit: Can't setup RLIMIT_NOFILE for self", ": tun: Unable to create tun")
"""Errors by name only: without these powers criu does without."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def excerpt(directory: str, name: str) -> tuple[list[str], str]:
    """(lines to quote, the first error) of the log `name` in `directory`; both empty without one."""
    try:
        fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, errors="replace") as file:
            lines = file.read(_LARGEST).splitlines()
    except OSError:
        return [], ""
    wanted: dict[int, None] = {}
    first = ""
    for at, line in enumerate(lines):
        if "Error" in line:
            first = first or ("" if any(one in line for one in _GOES_ON) else line)
            wanted.update(dict.fromkeys(range(max(0, at - _BEFORE), at + 1)))
    quoted: list[str] = []
    last = -1
    for at in list(wanted)[:_MOST]:
        if quoted and at != last + 1:
            quoted.append("...")
        quoted.append(f"{at + 1}:{_CONTROL.sub('?', lines[at])}")
        last = at
    return quoted, _CONTROL.sub("?", first.rpartition("Error (")[2].partition("): ")[2]).strip()
