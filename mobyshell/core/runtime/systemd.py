"""A container's unit of systemd: started around its first process, changed by update, stopped by delete.

Owns the driver's three moments; which unit and which properties is `units`, how one talks to
systemd is `core/linux/systemd`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mobyshell.core.linux.own_ids import outside
from mobyshell.core.linux.systemd import connected
from mobyshell.core.runtime import units
from mobyshell.core.runtime.plan import Operation, Text


def start(operation: Operation, pid: int) -> None:
    """Have systemd start the unit that `operation` describes, around the process `pid`.

    Unsupported where there is no systemd; MobyshellError with what it says.
    """
    name, properties = (arg.value for arg in operation.calls[0].args if isinstance(arg, Text))
    given = units.from_json(properties)
    if not name.endswith(".slice"):
        given.append(("PIDs", ("au", [pid])))
    with connected(user=outside(os.geteuid()) != 0) as manager:
        manager.start(name, given)


def change(unit: str, resources: Mapping[str, Any], *, v2: bool, owner: int) -> None:
    """Tell systemd of new limits, so that it does not restore the old ones one day."""
    properties = units.limit_properties(resources, v2=v2)
    if properties:
        with connected(user=outside(owner) != 0) as manager:
            manager.set_properties(unit, properties)


def stop(unit: str, *, owner: int) -> None:
    """Have systemd stop the unit of a container whose processes are gone, and forget it."""
    with connected(user=outside(owner) != 0) as manager:
        manager.stop(unit)
