"""The config.json that `runc spec` writes, and its rootless form (runc 1.1, libcontainer/specconv)."""

from __future__ import annotations

import os

from mobyshell.core.oci.linux import Linux, Namespace
from mobyshell.core.oci.process import Capabilities, IDMapping, Mount, Process, Rlimit, Root, User
from mobyshell.core.oci.resources import DeviceCgroup, Resources
from mobyshell.core.oci.spec import Spec
from mobyshell.core.oci.version import OCI_VERSION
from mobyshell.core.values import replace

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _mounts() -> tuple[Mount, ...]:
    return (
        Mount(destination="/proc", type="proc", source="proc"),
        Mount(destination="/dev", type="tmpfs", source="tmpfs",
              options=("nosuid", "strictatime", "mode=755", "size=65536k")),
        Mount(destination="/dev/pts", type="devpts", source="devpts",
              options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
        Mount(destination="/dev/shm", type="tmpfs", source="shm",
              options=("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue",
              options=("nosuid", "noexec", "nodev")),
        Mount(destination="/sys", type="sysfs", source="sysfs",
              options=("nosuid", "noexec", "nodev", "ro")),
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup",
              options=("nosuid", "noexec", "nodev", "relatime", "ro")),
    )  # fmt: skip


def default_spec(rootless: bool = False, *, uid: int | None = None, gid: int | None = None) -> Spec:
    """What `runc spec` (`--rootless`) writes.

    `uid` and `gid` are the host ids that a rootless container's root is (default: the caller's).
    """
    namespaces = ["pid", "network", "ipc", "uts", "mount"]
    spec = Spec(
        oci_version=OCI_VERSION,
        process=Process(
            terminal=True,
            user=User(uid=0, gid=0),
            args=("sh",),
            env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"),
            cwd="/",
            capabilities=Capabilities(
                bounding=_CAPABILITIES, effective=_CAPABILITIES, permitted=_CAPABILITIES,
                ambient=_CAPABILITIES,
            ),
            rlimits=(Rlimit(type="RLIMIT_NOFILE", hard=1024, soft=1024),),
            no_new_privileges=True,
        ),
        root=Root(path="rootfs", readonly=True),
        hostname="runc",
        mounts=_mounts(),
        linux=Linux(
            resources=Resources(devices=(DeviceCgroup(allow=False, access="rwm"),)),
            namespaces=tuple(Namespace(type=kind) for kind in namespaces),
            masked_paths=_MASKED,
            readonly_paths=_READ_ONLY,
        ),
    )  # fmt: skip
    return _rootless(spec, uid, gid) if rootless else spec


def _rootless(spec: Spec, uid: int | None, gid: int | None) -> Spec:
    """Without what an unprivileged user cannot have, with a user namespace instead."""
    assert spec.linux is not None
    host_uid = os.geteuid() if uid is None else uid
    host_gid = os.getegid() if gid is None else gid
    kinds = ("pid", "ipc", "uts", "mount", "user")
    mounts = []
    for one in spec.mounts or ():
        if one.destination == "/sys":
            # sysfs belongs to whoever owns the network namespace: the host's is bound instead
            one = replace(one, type="none", source="/sys",
                          options=("rbind", "nosuid", "noexec", "nodev", "ro"))  # fmt: skip
        elif one.options:
            kept = tuple(word for word in one.options if not word.startswith(("gid=", "uid=")))
            one = replace(one, options=kept)
        mounts.append(one)
    linux = replace(
        spec.linux,
        resources=None,
        namespaces=tuple(Namespace(type=kind) for kind in kinds),
        uid_mappings=(IDMapping(container_id=0, host_id=host_uid, size=1),),
        gid_mappings=(IDMapping(container_id=0, host_id=host_gid, size=1),),
    )
    return replace(spec, mounts=tuple(mounts), linux=linux)
