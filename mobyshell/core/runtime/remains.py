"""What is left of a container whose state.json is lost or damaged, by what the kernel says.

Owns the finding: processes that the caller knows, the cgroups that its spec (or its id) names, if
they are there, its mount on the host, its class of service. Nothing is taken for its own that does
not have its name: so directories above its cgroups stay. Ending all that is `delete`'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.oci import Linux, Spec, load_spec
from mobyshell.core.runtime import groups, host_root
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.operations import resctrl


def found(
    root: Path, id: str, known: Mapping[int, int], host: Host | None = None
) -> states.State | None:
    """A state to delete the container by; None if there is none, or somebody is making it.

    `known`: pid → start time of processes of it, its init first.
    """
    path = states.directory(root, id)
    try:
        if states.creator_lives(path) or not os.listdir(path):
            return None
    except OSError:
        return None
    try:
        spec = load_spec(path)
    except (MobyshellError, OSError):
        spec = Spec(oci_version=states.OCI_VERSION)
    host, linux = host or Host.detect(), spec.linux or Linux()
    living = {pid: start for pid, start in known.items() if procfs.alive(pid, start)}
    pid, start = next(iter(living.items()), (0, 0))
    unit, paths = _cgroups(linux, id, groups.default_name(root, id), host, living)
    return states.State(
        id, pid, start, bundle="", created_ns=0, cgroups=paths, unit=unit,
        rootfs=host_root.left(path, spec.root.path if spec.root else "rootfs"),
        owner=path.stat().st_uid, resctrl=_classes(linux, host, id),
    )  # fmt: skip


def _cgroups(
    linux: Linux, id: str, default: str, host: Host, living: Mapping[int, int]
) -> tuple[str, dict[str, str]]:
    """The unit of systemd, or "", and controller → directory, of what is there."""
    try:
        unit, paths = groups.as_unit(linux, host, id)
        there = {name: path for name, path in paths.items() if os.path.isdir(path)}
        if there:
            return unit.name, there
    except MobyshellError:
        pass  # it is none of systemd's
    try:
        paths = groups.choose(linux, host, default, [])
    except MobyshellError:
        paths = {}  # it was made by another user, or elsewhere
    there = {name: path for name, path in paths.items() if os.path.isdir(path)}
    end = f"/{(linux.cgroups_path or default).strip('/')}"
    for pid in living:
        there |= dict(_named(pid, end))
    return "", there


def _named(pid: int, end: str) -> Iterator[tuple[str, str]]:
    """Of the cgroups that a process is in, and those above, the ones with the container's name."""
    try:
        own = cgroups.detect(f"/proc/{pid}/cgroup").own
    except OSError:
        return
    for controller, path in own.items():
        head, middle, _ = f"{path}/".partition(f"{end}/")
        if middle:
            yield controller, head + end


def _classes(linux: Linux, host: Host, id: str) -> tuple[str, ...]:
    """Its class of service and monitoring group, where they are named by its id."""
    asked = linux.intel_rdt
    if asked is None or host.resctrl is None:
        return ()
    path = resctrl.path_of(asked, host.resctrl, id)
    own = (resctrl.monitored(asked, path, id), "" if asked.clos_id else path)
    return tuple(one for one in own if one and os.path.isdir(one))
