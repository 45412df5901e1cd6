"""state: what a container is, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Status
from mobyshell.runc.call import Call


def run(call: Call) -> int:
    """`state`."""
    root = call.root()
    state = states.read(root, call.id)
    document = described(state, states.status(root, state))
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False))
    return 0


def described(state: State, now: Status) -> dict[str, Any]:
    """The container in runc's order: the spec's state, with rootfs, creation and owner."""
    document = states.oci_state(state, now)
    annotations = document.pop("annotations", None)
    if annotations:
        document["annotations"] = annotations
    document["owner"] = owner(state.owner)
    return document


def owner(uid: int) -> str:
    """The name of a user; empty for one without a name."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
