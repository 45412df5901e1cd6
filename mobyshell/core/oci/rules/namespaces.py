"""Rules about namespaces, and about what only works within a separate one (config-linux.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from mobyshell.core.oci.kinds import Problem
from mobyshell.core.oci.process import IDMapping
from mobyshell.core.oci.rules.common import each, has, makes
from mobyshell.core.oci.safejson import show
from mobyshell.core.oci.spec import Spec

_MAPPINGS = "config-linux.md#user-namespace-mappings"
_SYSCTL = "config-linux.md#sysctl"

MOST_MAPPINGS = 340
"""The kernel takes no more (user_namespaces(7))."""

_LAST_ID = 2**32 - 2  # (uid_t) -1 is no id


def once(spec: Spec) -> Iterator[Problem]:
    """Each kind of namespace at most once."""
    section = "config-linux.md#namespaces"
    seen: set[str] = set()
    for index, one in each(spec.linux.namespaces if spec.linux else None):
        if one.type in seen:
            yield Problem(f"linux.namespaces[{index}].type", f'"{one.type}" again',
                          "each type once", section)  # fmt: skip
        seen.add(one.type)


def names(spec: Spec) -> Iterator[Problem]:
    """The names belong to the uts namespace, and the kernel keeps 64 bytes of each (uname(2))."""
    if spec.linux is None:
        return
    own = has(spec, "uts")
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if value and not own:
            yield Problem(name, show(value), "nothing, or a uts namespace for it",
                          f"config.md#{name}")  # fmt: skip
        elif value and len(value.encode()) > 64:
            yield Problem(name, show(value), "at most 64 bytes", f"config.md#{name}")


def mappings(spec: Spec) -> Iterator[Problem]:
    """A new user namespace has id mappings. One that is joined may have them told, as runc takes it;
    without one there are none."""
    if spec.linux is None:
        return
    new = makes(spec, "user")
    for name, given in (
        ("uidMappings", spec.linux.uid_mappings), ("gidMappings", spec.linux.gid_mappings),
    ):  # fmt: skip
        path = f"linux.{name}"
        if given and not has(spec, "user"):
            yield Problem(path, show(list(given)), "none without a user namespace",
                          _MAPPINGS)  # fmt: skip
        if not given and new:
            yield Problem(path, "nothing", "a mapping for the new user namespace", _MAPPINGS)
        yield from ranges(given or (), path)


def ranges(given: Sequence[IDMapping], path: str) -> Iterator[Problem]:
    """What the kernel wants of the lines of uid_map: few, within the ids, apart from each other."""
    if len(given) > MOST_MAPPINGS:
        yield Problem(path, f"{len(given)} mappings", f"at most {MOST_MAPPINGS}", _MAPPINGS)
        return
    for word in ("containerID", "hostID"):
        spans = []
        for index, one in each(given):
            start = one.container_id if word == "containerID" else one.host_id
            spans.append((start, start + one.size - 1, index))
            if start + one.size - 1 > _LAST_ID:
                yield Problem(f"{path}[{index}].{word}", f"{start} and the {one.size - 1} after it",
                              f"ids up to {_LAST_ID}", _MAPPINGS)  # fmt: skip
        spans.sort()
        for (_, end, first), (start, _, second) in pairwise(spans):
            if start <= end:
                yield Problem(f"{path}[{max(first, second)}].{word}",
                              f"a range that overlaps that of [{min(first, second)}]",
                              "ranges apart from each other", _MAPPINGS)  # fmt: skip


def time_offsets(spec: Spec) -> Iterator[Problem]:
    """Offsets are set before the first process enters a time namespace (time_namespaces(7))."""
    given = spec.linux.time_offsets if spec.linux else None
    if given and not makes(spec, "time"):
        yield Problem("linux.timeOffsets", show(given), "none without a new time namespace",
                      "config-linux.md#offset-for-time-namespace")  # fmt: skip


def net_devices(spec: Spec) -> Iterator[Problem]:
    """Devices are moved into a network namespace that is not the host's."""
    given = spec.linux.net_devices if spec.linux else None
    if given and not has(spec, "network"):
        yield Problem("linux.netDevices", show(given), "none without a network namespace",
                      "config-linux.md#network-devices")  # fmt: skip


_IPC = frozenset({
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
    "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
})  # fmt: skip


def sysctl_namespace(key: str) -> str | None:
    """The namespace that sysctl `key` belongs to; None if it is the whole machine's."""
    if key in _IPC or key.startswith("fs.mqueue."):
        return "ipc"
    if key in ("kernel.hostname", "kernel.domainname"):
        return "uts"
    if key.startswith("user."):
        return "user"  # the limits of namespaces, which each user namespace has of its own
    return "network" if key.startswith("net.") else None


def sysctls(spec: Spec) -> Iterator[Problem]:
    """Only what belongs to a namespace of the container's own: the rest is the machine's."""
    for key in (spec.linux.sysctl if spec.linux else None) or ():
        path = f"linux.sysctl[{show(key)}]"
        # sysctl.d(5): net/ipv4 is net.ipv4
        dotted = key.replace("/", ".")
        needs = sysctl_namespace(dotted)
        if ".." in dotted or dotted.startswith(".") or dotted.endswith("."):
            yield Problem(path, show(key), "a name such as net.ipv4.ip_forward", _SYSCTL)
        elif dotted == "kernel.hostname":
            yield Problem(path, show(key), "the member hostname instead", _SYSCTL)
        elif needs is None or not has(spec, needs):
            # in runc's words, which callers look for
            kind = f"a {needs}" if needs else "its"
            yield Problem(path, show(key), f"one with {kind} namespace of the container's own: "
                          f"sysctl {show(key)} is not in a separate kernel namespace", _SYSCTL)  # fmt: skip
