"""The operation that puts the device filter on a container's v2 cgroup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobyshell.core.linux import constants as c
from mobyshell.core.linux import device_filter
from mobyshell.core.linux.cgroup_limits import DEFAULT_RULES, device_line
from mobyshell.core.runtime.operations.calls import CWD, close, flags
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Flags, Operation, Phase, Text


def filter_devices(path: str, rules: Sequence[Mapping[str, Any]]) -> Operation:
    """Load the program of `rules`, with those of every container, and attach it to `path`."""
    code = device_filter.program((*rules, *DEFAULT_RULES))
    program, group = Cell("filter"), Cell("group")
    count = len(code) // 8
    shown = "; ".join(
        f"{'allow' if one.get('allow') else 'deny'} {device_line(one)}"
        for one in (*rules, *DEFAULT_RULES)
    )
    load = Data(
        device_filter.load_attributes(count, 0, 0),
        f"{{BPF_PROG_TYPE_CGROUP_DEVICE, {count} instructions: {shown}}}",
        pointers=((8, Data(code)), (16, Text(device_filter.LICENSE))),
    )
    attach = Data(
        device_filter.attach_attributes(0, 0),
        "{<group>, <filter>, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI}",
        cells=((0, 4, group), (4, 4, program)),
    )
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"filter the use of devices by {len(rules)} rules and those of every container",
        why="Version 2 has no control file for devices: a program that the kernel asks decides.",
        source="linux.resources.devices",
        spec="config-linux.md#allowed-device-list",
        man="bpf(2)",
        calls=(
            Call(
                "bpf",
                (Flags(device_filter.LOAD, "BPF_PROG_LOAD"), load, len(load.value)),
                result=program,
            ),
            Call(
                "openat",
                (CWD, Text(path), flags("open", c.O_DIRECTORY | c.O_CLOEXEC)),
                result=group,
            ),
            Call(
                "bpf",
                (Flags(device_filter.ATTACH, "BPF_PROG_ATTACH"), attach, len(attach.value)),
            ),
            close(group),
            close(program),
        ),
        hints=tuple(device_filter.HINTS.items()),
    )
