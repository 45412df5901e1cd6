"""Who writes the id maps of a new user namespace: root, the user for their own id, or a helper. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.errors import Unsupported
from mobyshell.core.oci import Linux
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.operations import namespaces
from mobyshell.core.runtime.plan import Operation


def planned_maps(linux: Linux, host: Host) -> Iterator[Operation]:
    """The operations that write both maps. Unsupported if that takes a helper which is not there."""
    for kind, mappings, helper in (
        ("gid", linux.gid_mappings or (), host.newgidmap),
        ("uid", linux.uid_mappings or (), host.newuidmap),
    ):
        simple = len(mappings) == 1 and mappings[0].size == 1 and mappings[0].host_id == (
            host.euid if kind == "uid" else host.egid
        )  # fmt: skip
        alone = host.maps_ids or simple
        if not alone and helper is None:
            raise Unsupported(
                f"linux.{kind}Mappings: an unprivileged user may map only their own id",
                hint=f"apt install uidmap (for new{kind}map), with a range in /etc/sub{kind}",
            )
        yield namespaces.id_maps(
            kind,
            tuple(mappings),
            deny_setgroups=kind == "gid" and not host.maps_ids and alone,
            helper=None if alone else helper,
        )
