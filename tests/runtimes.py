"""The OCI runtimes that tests drive through our client: ours, runc, crun."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

OURS = str(Path(sys.executable).parent / "mobyshell-runc")
NAMES = ("mobyshell-runc", "runc", "crun")
_SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

_CRUN = """#!/bin/sh
# crun refuses machines where v1 has most of the controllers and v2 the rest: it shall see none there
exec unshare -m sh -c '
    list=/sys/fs/cgroup/unified/cgroup.controllers
    [ ! -e $list ] || mount --bind /dev/null $list
    exec {crun} "$@"' crun "$@"
"""


def runtime_path(name: str, directory: Path) -> str:
    """The path of a runtime's program; `directory` is for what has to be wrapped."""
    if name == "mobyshell-runc":
        return OURS
    found = shutil.which(name, path=_SEARCHED)
    assert found is not None, f"{name} is not installed: see .ci/packages"
    if name != "crun":
        return found
    wrapper = directory / "crun"
    wrapper.write_text(_CRUN.format(crun=shlex.quote(found)))
    wrapper.chmod(0o755)
    return str(wrapper)
