"""The spec that a container of an image begins with: containerd's (pkg/oci/spec.go, Unix).

It differs from `runc spec`'s: Docker's fourteen capabilities, a writable root, a /run of its own, a
limit of open files, no terminal.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mobyshell.core.oci import Capabilities, IDMapping, Mount, Root, Spec, default_spec
from mobyshell.core.values import replace

if TYPE_CHECKING:
    from mobyshell.core.store.owners import Owners
    from mobyshell.core.store.root import StoreRoot

CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip

ROOTFS = "rootfs"
"""Where in a container's directory its root filesystem is mounted."""

_MORE_MASKED = ("/proc/interrupts", "/sys/devices/virtual/powercap",
                "/sys/devices/system/cpu/cpu0/thermal_throttle")  # fmt: skip
"""What today's engines hide beside what `runc spec` lists: it tells of the host's doings
(CVE-2020-8694 and its kin)."""


def container_spec(owners: Owners | None = None) -> Spec:
    """A container's spec before any option is applied. `owners`: those of the store that its files are
    in; for who is not root it is in a user namespace of these."""
    mapped = owners is not None and bool(owners.uids)
    spec = default_spec(rootless=mapped)
    assert spec.process is not None
    assert spec.linux is not None
    process = replace(
        spec.process, terminal=None, args=None, cwd="/", env=(spec.process.env or ())[:1],
        capabilities=Capabilities(
            bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES
        ),
    )  # fmt: skip
    run = Mount(destination="/run", type="tmpfs", source="tmpfs",
                options=("nosuid", "strictatime", "mode=755", "size=65536k"))  # fmt: skip
    linux = replace(spec.linux, masked_paths=(*(spec.linux.masked_paths or ()), *_MORE_MASKED))
    if owners is not None and mapped:
        linux = replace(
            linux, uid_mappings=_mappings(owners.uids), gid_mappings=_mappings(owners.gids)
        )
    return replace(
        spec, process=process, root=Root(path=ROOTFS), hostname=None,
        mounts=(*(spec.mounts or ()), run), linux=linux,
    )  # fmt: skip


def spec_in(root: StoreRoot) -> Spec:
    """`container_spec` for a container whose files are in this store."""
    if os.geteuid() == 0:
        return container_spec()
    from mobyshell.core.store import owners  # of no use to root

    return container_spec(owners.of_store(root))


def _mappings(lines: tuple[tuple[int, int, int], ...]) -> tuple[IDMapping, ...]:
    return tuple(IDMapping(container_id=inside, host_id=outside, size=count)
                 for inside, outside, count in lines)  # fmt: skip
