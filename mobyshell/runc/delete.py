"""delete: everything that `create` made is taken back."""

from __future__ import annotations

from mobyshell.core.runtime.delete import delete
from mobyshell.core.runtime.steps import run as steps
from mobyshell.runc.call import Call


def run(call: Call) -> int:
    """`delete`."""
    steps(delete(call.root(), call.id, force=call.flags.on("force"), sink=call.told))
    return 0
