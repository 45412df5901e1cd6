"""How much of the machine a container may have, beside memory, processors and processes in
`spec_options`: swap, chosen processors, shares, devices. Options of its spec.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from mobyshell.core.errors import SyscallFailed, UsageError
from mobyshell.core.oci import CPU, Device, DeviceCgroup, Linux, Memory, Resources, Spec
from mobyshell.core.values import replace
from mobyshell.moby.spec_options import Making, SpecOption


def with_resources(resources: Resources) -> SpecOption:
    """All limits at once, as `linux.resources` has them, instead of those that are there."""
    return lambda spec, _: _with(spec, resources)


def with_memory_swap(limit: int) -> SpecOption:
    """Bytes of memory and swap together (`memory.swap`); -1 for no limit."""
    return lambda spec, _: _with(
        spec, replace(_of(spec), memory=replace(_of(spec).memory or Memory(), swap=limit))
    )


def with_cpuset(cpus: str = "", mems: str = "") -> SpecOption:
    """On these processors alone, and with memory of these nodes: lists such as `0-2,7`."""
    return lambda spec, _: _with_cpu(spec, cpus=cpus or None, mems=mems or None)


def with_cpu_shares(shares: int) -> SpecOption:
    """How much it gets of processors that others want, too; 1024 is the usual share."""
    return lambda spec, _: _with_cpu(spec, shares=shares)


def with_cpu_quota(quota: int, period: int = 100_000) -> SpecOption:
    """`quota` of every `period` microseconds, of all processors together; see `with_cpus`."""
    return lambda spec, _: _with_cpu(spec, quota=quota, period=period)


def with_devices(path: str, inside: str = "", permissions: str = "rwm") -> SpecOption:
    """A device of the host, or all in a directory of it, and the right to use them; `inside`: where it
    is in the container. SyscallFailed if it is not there, UsageError if it is no device."""
    wrong = set(permissions) - set("rwm")
    if wrong or not permissions:
        raise UsageError(f"{permissions!r:.20} are no permissions of a device", hint="of r, w, m")

    def option(spec: Spec, _: Making) -> Spec:
        found = list(_devices(path, inside or path))
        linux = spec.linux or Linux()
        places = {one.path for one in found}
        kept = (one for one in linux.devices or () if one.path not in places)
        rules = (DeviceCgroup(allow=True, type=one.type, major=one.major, minor=one.minor,
                              access=permissions) for one in found)  # fmt: skip
        before = _of(spec)
        spec = replace(spec, linux=replace(linux, devices=(*kept, *found)))
        return _with(spec, replace(before, devices=(*(before.devices or ()), *rules)))

    return option


def with_all_devices_allowed() -> SpecOption:
    """No rule of the cgroup keeps it from any device that it can open."""
    return lambda spec, _: _with(
        spec, replace(_of(spec), devices=(DeviceCgroup(allow=True, access="rwm"),))
    )


def _devices(path: str, inside: str) -> Iterator[Device]:
    try:
        there = os.stat(path)
        names = sorted(os.listdir(path)) if stat.S_ISDIR(there.st_mode) else None
    except OSError as error:
        raise SyscallFailed.of(error, "stat", path=path) from None
    if names is not None:
        for name in names:
            below = os.stat(f"{path}/{name}").st_mode if os.path.exists(f"{path}/{name}") else 0
            if stat.S_ISDIR(below) or stat.S_ISCHR(below) or stat.S_ISBLK(below):
                yield from _devices(f"{path}/{name}", f"{inside}/{name}")
        return
    kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(there.st_mode))
    if kind is None:
        raise UsageError(f"{path} is no device", hint="with_mounts or with_volume, for a file")
    yield Device(path=inside, type=kind, major=os.major(there.st_rdev),
                 minor=os.minor(there.st_rdev), file_mode=stat.S_IMODE(there.st_mode),
                 uid=there.st_uid, gid=there.st_gid)  # fmt: skip


def _of(spec: Spec) -> Resources:
    return (spec.linux or Linux()).resources or Resources()


def _with(spec: Spec, resources: Resources) -> Spec:
    return replace(spec, linux=replace(spec.linux or Linux(), resources=resources))


def _with_cpu(spec: Spec, **changes: object) -> Spec:
    given = {name: one for name, one in changes.items() if one is not None}
    cpu = replace(_of(spec).cpu or CPU(), **given)
    return _with(spec, replace(_of(spec), cpu=cpu))
