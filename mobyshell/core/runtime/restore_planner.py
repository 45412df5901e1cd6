"""The plan of what is made before a checkpoint is restored: cgroups, their limits, the way into
them. All else comes from the images. Pure."""

from __future__ import annotations

from mobyshell.core.oci import Spec
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.plan import Plan
from mobyshell.core.runtime.planner import Planner
from mobyshell.core.runtime.refusals import refuse


def make_restore_plan(
    spec: Spec, *, bundle: str, id: str, host: Host, cgroup: str = "", systemd: bool = False
) -> Plan:
    """The plan for container `id` on `host`; where its cgroups are as in `make_plan`.

    In its phase ATTACH the pid is criu's: what that makes is born in the cgroups.
    """
    planner = _RestorePlanner(spec, bundle, id, host, None, 0, 0, None)
    if systemd:
        planner.use_systemd()
    else:
        planner.groups = planner.choose_groups(cgroup or f"mobyshell-{id}")
    return planner.plan()


class _RestorePlanner(Planner):
    def plan(self) -> Plan:
        refuse(self.spec, self.host)
        # criu is in no cgroup of the container's yet; trees and maps are its business
        self.attended, self.trees, self.made = True, {}, set()
        return Plan(
            id=self.id,
            bundle=self.bundle,
            rootfs=self.rootfs,
            operations=(*self._prepare(), *self._attach()),
            cgroups=self.groups,
            terminal=bool(self.terminal),
            attended=True,
            unit=self.unit.name if self.unit else "",
            resctrl=self.host.resctrl if self.linux.intel_rdt else None,
            notices=tuple(self.notices),
        )
