"""Which criu this machine has, and whether it works here.

Owns the questions before anything is done: is there one, which version, what `criu check` says.
Each answer that is no is an Unsupported that says what is missing, and how one gets it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from mobyshell.core.checkpoint.criu.log import GOES_ON
from mobyshell.core.errors import Unsupported

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REMEDY = "apt install criu; if that is older than this kernel can bear, build a newer one: criu.org"
OLDEST = (3, 0, 0)
"""The first with the requests that are asked here."""

_PATIENCE = 60
_SHOWN = 3
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def find(name: str = "criu") -> str:
    """The path of the program. Unsupported if there is none."""
    found = shutil.which(name) or shutil.which(name, path=PATH)
    if found is None:
        raise Unsupported(
            f'CRIU version check failed: exec: "{name}": executable file not found in $PATH',
            hint=REMEDY,
        )
    return os.path.abspath(found)


def complaint(program: str) -> str:
    """Why `program` does not work on this machine, by its own check; "" if it does."""
    try:
        done = subprocess.run(
            [program, "check"], stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=_PATIENCE, cwd="/",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = (done.stderr + done.stdout).decode(errors="replace")
    return errors_in(said) or f"`criu check` ends with {done.returncode}"


def errors_in(text: str) -> str:
    """The errors in what criu said, without the places in its source, in one harmless line."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        _, error, rest = line.partition("Error (")
        said = _CONTROL.sub(" ", rest.partition("): ")[2]).strip()
        if error and not said.startswith(GOES_ON):
            found[said] = None
    return "; ".join(list(found)[:_SHOWN])[:300]


def unusable(program: str, why: str) -> Unsupported:
    """The error for a criu that is there and does not work."""
    return Unsupported(
        f"{program} does not work on this machine: {why}",
        hint=f"a kernel with CONFIG_CHECKPOINT_RESTORE and a criu that knows it: {REMEDY}; "
        "`criu check` tells more",
    )


def shown(version: tuple[int, int, int]) -> str:
    """A version as people write it."""
    major, minor, sub = version
    return f"{major}.{minor}" + (f".{sub}" if sub else "")


def require(version: tuple[int, int, int], least: tuple[int, int, int], what: str) -> None:
    """Unsupported unless `version` is at least `least`, which `what` needs."""
    if version < least:
        raise Unsupported(
            f"{what} needs CRIU {shown(least)}, and this is {shown(version)}", hint=REMEDY
        )
