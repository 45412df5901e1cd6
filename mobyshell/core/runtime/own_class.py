"""The class of service of one container while it is made: what is its own, and so to be undone.

Classes are of a kind that containers share on purpose, so only what was not there before, and bears
no name that somebody gave it, is taken away again.
"""

from __future__ import annotations

import os

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.linux import resctrl as kernel
from mobyshell.core.linux.resctrl import Resctrl
from mobyshell.core.oci import Spec
from mobyshell.core.runtime.operations import resctrl as operations


def own_directories(spec: Spec, resctrl: Resctrl | None, id: str) -> tuple[str, ...]:
    """What is the container's to remove at its end, in this order.

    Looked at before anything is made. InvalidSpec if the class that the spec names is there and
    may use something else than the spec says.
    """
    asked = spec.linux.intel_rdt if spec.linux else None
    if asked is None or resctrl is None:
        return ()
    path = operations.path_of(asked, resctrl, id)
    there = os.path.isdir(path)
    if there and asked.clos_id:
        _compare(path, operations.lines_of(asked), len(asked.schemata or ()), resctrl)
    monitor = operations.monitored(asked, path, id)
    found = [monitor] if monitor and not os.path.isdir(monitor) else []
    if not there and not asked.clos_id:
        found.append(path)
    return tuple(found)


def _compare(path: str, lines: tuple[str, ...], later: int, resctrl: Resctrl) -> None:
    # those of `schemata` are not compared: what they mean only the kernel knows
    wanted = lines[: len(lines) - later]
    found = kernel.disagreement(path, wanted, kernel.granularity(resctrl.root))
    if found:
        raise InvalidSpec(
            f"linux.intelRdt: the class of service {path} is there with {found}, "
            f"not with {', '.join(wanted)}",
            hint="leave the schemas out to join it as it is, or choose another closID",
        )
