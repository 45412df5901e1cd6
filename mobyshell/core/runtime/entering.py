"""When a child enters the cgroups that it is not born in: as late as nobody can tell the difference.

Pure. Making them takes the kernel as long as half of the mounts do, so the runtime makes them beside
the child (`Phase.BESIDE`), which enters them before a mount that may show them.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence

from mobyshell.core.linux.cgroups import together
from mobyshell.core.oci import Mount
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.operations import cgroups
from mobyshell.core.runtime.plan import Operation


def entering(groups: Mapping[str, str]) -> list[Operation]:
    """The child's operations, those of a v1 group each; none if it is born in all it has."""
    joins = [cgroups.join(name, path) for name, path in together(groups).items() if name]
    return [cgroups.wait_until_made(), *joins] if joins else []


def first_to_show(entries: Sequence[Mount], host: Host) -> int:
    """The first of the mounts that may show cgroups; how many there are, if none does."""
    roots = [f"{host.cgroup_root(one)}/" for one in host.cgroup_own]
    found = (index for index, one in enumerate(entries) if _shows(one, roots))
    return next(found, len(entries))


def _shows(entry: Mount, roots: Sequence[str]) -> bool:
    source = f"{os.path.normpath(entry.source or '')}/"
    kind = entry.type or ""
    return kind.startswith("cgroup") or any(source.startswith(one) for one in roots)
