"""checkpoint and restore: by criu(8), where there is one that works."""

from __future__ import annotations

import shutil

from mobyshell.core.runtime import state as states
from mobyshell.runc.call import Call, Failure


def run(call: Call) -> int:
    """`checkpoint` or `restore`."""
    if call.command == "checkpoint":
        states.read(call.root(), call.id)
    else:
        states.directory(call.root(), call.id)
    criu = call.options.text("criu", "criu")
    if shutil.which(criu) is None:
        raise Failure(
            f'CRIU version check failed: exec: "{criu}": executable file not found in $PATH'
        )
    raise Failure(
        f"{call.command} is unsupported by this version of mobyshell-runc, though {criu} is there; "
        "runc and crun of the same machine can do it"
    )
