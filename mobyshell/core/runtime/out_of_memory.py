"""Whether the kernel has killed in a container for memory: what its cgroup says of that.

v1: memory.oom_control (memory.rst, "OOM Control"); v2: memory.events (cgroup-v2.rst).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux import cgroups

V1, V2 = "memory.oom_control", "memory.events"
_SHORT = (errno.ENOMEM, errno.E2BIG, errno.EFAULT)
"""How execve fails where there is no memory: also for a page of its arguments, and to copy them there."""


def place(groups: Mapping[str, str]) -> tuple[str, str] | None:
    """Which of a container's groups knows, and the file that says it; None where none does."""
    for controller, file in (("memory", V1), ("", V2)):
        group = groups.get(controller)
        if group is not None and os.path.exists(f"{group}/{file}"):
            return group, file
    return None


def kills(group: str, file: str) -> int:
    """How many processes of a group the kernel has killed for memory; 0 if it is gone."""
    try:
        lines = cgroups.read(group, file).splitlines()
    except MobyshellError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _refused(group: str, file: str) -> bool:
    """Whether the limit was in the way, though nobody was killed; v1 does not say."""
    try:
        lines = cgroups.read(group, file).splitlines()
    except MobyshellError:
        return False
    return any(line.startswith("max ") and line != "max 0" for line in lines)


def told(groups: Mapping[str, str], refusal: SyscallFailed | None) -> MobyshellError | None:
    """The error of a container that had not memory enough to begin; None if that was not why.
    `refusal`: what kept its first process from becoming our launcher, if it did not."""
    if refusal is not None and refusal.errno not in _SHORT:
        return None
    where = place(groups)
    if where is None or not (kills(*where) or _refused(*where)):
        return None
    return MobyshellError(
        "container init was OOM-killed (memory limit too low?)",
        hint="linux.resources.memory.limit: to begin takes a few hundred KiB",
    )
