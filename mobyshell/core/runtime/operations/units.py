"""The operation that has systemd make a container's cgroup, as a unit of its own."""

from __future__ import annotations

from collections.abc import Sequence

from mobyshell.core.linux.systemd import Property
from mobyshell.core.runtime.plan import Actor, Call, Operation, Phase, Text
from mobyshell.core.runtime.units import Unit, to_json

START = "@systemd"
"""The pseudo call: name of the unit, its properties as JSON; the child's pid comes with them."""


def start_unit(unit: Unit, properties: Sequence[Property]) -> Operation:
    """Start the transient unit, with the child as its first process."""
    # the place of the id is told by NULs, which JSON would escape
    text = to_json(properties).replace("\\u0000", "\0")
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.ATTACH,
        title=f"have systemd start {unit.name} in {unit.slice}, with the child in it",
        why="Where systemd keeps the tree of cgroups, what it does not know of it takes away again.",
        source="linux.cgroupsPath",
        spec="config-linux.md#cgroups-path",
        man="org.freedesktop.systemd1(5), systemd.resource-control(5)",
        calls=(Call(START, (Text(unit.name), Text(text))),),
    )
