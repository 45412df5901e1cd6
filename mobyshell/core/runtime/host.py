"""What the planner must know about the machine, as a frozen value.

Owns the description only: `Host.detect` looks once, the planner itself never does, so a plan can
be made for a machine that is not this one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from mobyshell.core.linux import capabilities, cgroups, own_ids, resctrl
from mobyshell.core.linux import lsm as lsms
from mobyshell.core.linux.resctrl import Resctrl
from mobyshell.core.values import field, value


@value
class Host:
    """A machine to plan for.

    `in_user_namespace`: whether the runtime itself is in one, as under an engine of a user who is
    not root: it may be root there, and is not the machine's. `uid` is who that is outside.
    `set_groups`: whether supplementary groups may be set at all. `cgroup_mode`: v1, v2, hybrid or
    none. `cgroup_own`: controller (v2: "") → the absolute directory of the cgroup that the runtime
    itself is in; `cgroup_roots`: the same for the tops of the hierarchies. `cgroup_usable`: the
    highest v2 group that cgroups may be made in, and `cgroup_v2_controllers` what can be limited
    below it. `cgroup_writable`: may cgroups be made at all. `cgroup_delegate`: the files of a v2
    group that a new owner of it is given. `cpuset`: CPUs and memory nodes of that cgroup (v1).
    `last_capability`: the highest number. `capabilities`: the mask of those that the runtime itself
    may hand on. `lsm`: names of active security modules. `resctrl`: the file system of classes of
    service, if one is mounted. `kernel`: its version.
    """

    euid: int = 0
    egid: int = 0
    in_user_namespace: bool = False
    uid: int = 0
    set_groups: bool = True
    cgroup_mode: str = "none"
    cgroup_own: Mapping[str, str] = field(default_factory=dict)
    cgroup_v2_controllers: tuple[str, ...] = ()
    cgroup_roots: Mapping[str, str] = field(default_factory=dict)
    cgroup_usable: str = ""
    cgroup_writable: bool = True
    cgroup_delegate: tuple[str, ...] = ()
    cpuset: tuple[str, str] = ("", "")
    last_capability: int = 40
    capabilities: int = (1 << 64) - 1
    lsm: tuple[str, ...] = ()
    resctrl: Resctrl | None = None
    kernel: tuple[int, int] = (6, 6)
    newuidmap: str | None = None
    newgidmap: str | None = None

    @property
    def privileged(self) -> bool:
        """Whether the runtime is the machine's root: may make devices, load programs into the kernel."""
        return self.euid == 0 and not self.in_user_namespace

    @property
    def maps_ids(self) -> bool:
        """Whether it may map whatever ids its own user namespace has, and become them."""
        return self.euid == 0

    def cgroup_root(self, controller: str) -> str:
        """The top of a hierarchy, as far as it is mounted here: absolute paths start there."""
        return self.cgroup_roots.get(controller, self.cgroup_own[controller])

    @property
    def cgroup_top(self) -> str:
        """The v2 group that relative paths start at, and controllers are handed down from."""
        return self.cgroup_usable or self.cgroup_own.get("", "")

    @classmethod
    def detect(cls) -> Host:
        """Look at this machine."""
        layout = cgroups.detect()
        own = dict(layout.own)
        writable = bool(own) and all(os.access(path, os.W_OK) for path in own.values())
        if layout.mode == "v2":
            writable = bool(layout.v2_usable)
        return cls(
            euid=os.geteuid(),
            egid=os.getegid(),
            in_user_namespace=own_ids.in_user_namespace(),
            uid=own_ids.outside(os.geteuid()),
            set_groups=own_ids.may_set_groups(),
            cgroup_mode=layout.mode,
            cgroup_own=own,
            cgroup_v2_controllers=layout.v2_controllers,
            cgroup_roots=dict(layout.roots),
            cgroup_usable=layout.v2_usable,
            cgroup_writable=writable,
            cgroup_delegate=cgroups.delegable() if layout.mode == "v2" else (),
            cpuset=_cpuset(own.get("cpuset")),
            last_capability=capabilities.last(),
            capabilities=capabilities.held(),
            lsm=lsms.active(),
            resctrl=resctrl.detect(),
            kernel=_kernel(),
            newuidmap=_helper("newuidmap"),
            newgidmap=_helper("newgidmap"),
        )


def _cpuset(path: str | None) -> tuple[str, str]:
    if path is None:
        return "", ""
    return cgroups.read(path, "cpuset.cpus"), cgroups.read(path, "cpuset.mems")


def _kernel() -> tuple[int, int]:
    """The first two numbers of uname(2)'s release; what comes after them may be anything."""
    major, minor = [*os.uname().release.split("."), "0"][:2]
    digits = minor[: len(minor) - len(minor.lstrip("0123456789"))]
    return int(major), int(digits or 0)


def _helper(name: str) -> str | None:
    for directory in ("/usr/bin", "/bin", "/usr/local/bin"):
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None
