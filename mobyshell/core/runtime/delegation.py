"""When a container's v2 cgroup becomes its user's, and whose that is (config-linux.md#cgroup-ownership).

Pure. The files are those that the kernel names for it: the limits stay the runtime's.
"""

from __future__ import annotations

import errno
import os.path
from collections.abc import Mapping, Sequence

from mobyshell.core.oci import Linux, Spec
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.operations.calls import CWD, quote
from mobyshell.core.runtime.plan import Actor, Call, Flags, Operation, Phase, Text

_SAME = Flags(0xFFFFFFFF, "-1")


def delegated(spec: Spec, host: Host, groups: Mapping[str, str], phase: Phase) -> list[Operation]:
    """The operation that gives the v2 group of `groups` away; none unless the container has a cgroup
    namespace of its own and writes to the group at /sys/fs/cgroup, on v2 alone."""
    owner = _owner(spec, host) if "" in groups else 0
    return [_give(groups[""], owner, host.cgroup_delegate, phase)] if owner else []


def _owner(spec: Spec, host: Host) -> int:
    """The uid on the host; 0 where nothing is given away, or where it is root's already."""
    if spec.linux is None or spec.process is None or not host.privileged:
        return 0
    if host.cgroup_mode != "v2" or not _asked(spec, spec.linux):
        return 0
    uid = spec.process.user.uid
    kinds = {one.type for one in spec.linux.namespaces or ()}
    if "user" not in kinds:
        return uid
    for one in spec.linux.uid_mappings or ():
        if one.container_id <= uid < one.container_id + one.size:
            return one.host_id + uid - one.container_id
    return 0


def _asked(spec: Spec, linux: Linux) -> bool:
    own = any(one.type == "cgroup" and not one.path for one in linux.namespaces or ())
    return own and any(
        one.source == "cgroup"
        and os.path.normpath(one.destination) == "/sys/fs/cgroup"
        and "ro" not in (one.options or ())
        for one in spec.mounts or ()
    )


def _give(path: str, uid: int, files: Sequence[str], phase: Phase) -> Operation:
    def chown(what: str, tolerate: tuple[int, ...] = ()) -> Call:
        return Call("fchownat", (CWD, Text(what), uid, _SAME, 0), tolerate=tolerate)

    names = [f"{path}/{one}" for one in files]
    return Operation(
        actor=Actor.PARENT,
        phase=phase,
        title=f"give the cgroup to uid {uid}, to make groups below",
        why="The container may write to its part of the tree; its own limits stay ours.",
        source="process.user",
        spec="config-linux.md#cgroup-ownership",
        man="cgroups(7)",
        # a kernel lacks some of what a newer one names
        calls=(chown(path), *(chown(one, (errno.ENOENT,)) for one in names)),
        shell=(f"chown {uid} {quote(path)}", *(f"chown {uid} {quote(one)} || :" for one in names)),
    )
