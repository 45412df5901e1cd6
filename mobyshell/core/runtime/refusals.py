"""What a spec may ask for and this runtime or this kernel cannot do: refused by name, or left out
with a notice, before anything has happened. Pure."""

from __future__ import annotations

from typing import Any

from mobyshell.core.errors import Unsupported
from mobyshell.core.linux.capabilities import known, number
from mobyshell.core.linux.lsm import APPARMOR, SELINUX, Module
from mobyshell.core.oci import Capabilities, IntelRdt, Linux, Process, Spec
from mobyshell.core.runtime.host import Host
from mobyshell.core.values import replace


def refuse(spec: Spec, host: Host) -> None:
    """Raise Unsupported, naming the member, for what cannot be done."""
    assert spec.linux is not None
    linux = spec.linux
    if linux.intel_rdt is not None:
        _refuse_class(linux.intel_rdt, host)
    hidden = linux.masked_paths or linux.readonly_paths
    if hidden and not any(one.type == "mount" for one in linux.namespaces or ()):
        raise Unsupported(
            "linux.namespaces has no mount namespace: unable to restrict sys entries without a "
            "private MNT namespace",
            hint='add {"type": "mount"} to linux.namespaces',
        )


def _refuse_class(asked: IntelRdt, host: Host) -> None:
    there = host.resctrl
    if there is None:
        raise Unsupported(
            "linux.intelRdt: this machine has no resctrl mounted",
            hint="it takes a processor with Intel RDT or AMD QoS, a kernel with "
            "CONFIG_X86_CPU_RESCTRL, and `mount -t resctrl resctrl /sys/fs/resctrl`",
        )
    wanted = (
        ("l3CacheSchema", asked.l3_cache_schema, ("L3", "L3CODE"), "cache allocation"),
        ("memBwSchema", asked.mem_bw_schema, ("MB", "SMBA"), "bandwidth allocation"),
        ("enableCMT", asked.enable_cmt, ("L3_MON",), "monitoring"),
        ("enableMBM", asked.enable_mbm, ("L3_MON",), "monitoring"),
        ("enableMonitoring", asked.enable_monitoring, ("L3_MON",), "monitoring"),
    )
    for name, value, needs, what in wanted:
        if value and not there.has(*needs):
            raise Unsupported(
                f"linux.intelRdt.{name}: this machine has no {what}",
                hint=f"{there.root}/info lists {', '.join(there.can) or 'nothing'}",
            )


def asked_labels(process: Process) -> list[tuple[Module, str, str]]:
    """The program's labels, each with the module that it is for, and the name of its member."""
    given = (
        (APPARMOR, process.apparmor_profile, "process.apparmorProfile"),
        (SELINUX, process.selinux_label, "process.selinuxLabel"),
    )
    return [(module, label, name) for module, label, name in given if label]


def usable_labels(
    process: Process, host: Host, notices: list[str]
) -> list[tuple[Module, str, str]]:
    """The program's labels that a module of this kernel looks at: each with its module and the name
    of its member. What no module looks at is told and left out, as crun and the validation suite of
    the specification have it; runc refuses. Who must not run unconfined reads the notice."""
    asked = asked_labels(process)
    notices += [
        f"ignoring {name}: this kernel does not run {module.key}, the program is not confined by it"
        for module, _, name in asked
        if module.key not in host.lsm
    ]
    return [one for one in asked if one[0].key in host.lsm]


def usable_mount_label(linux: Linux, host: Host, notices: list[str]) -> str | None:
    """The label that mounts get: none where no module would look at it, which confines nobody less."""
    if linux.mount_label and "selinux" not in host.lsm:
        notices.append("ignoring linux.mountLabel: this kernel does not run selinux")
        return None
    return linux.mount_label


def usable_capabilities(
    given: Capabilities | None, linux: Linux, host: Host, notices: list[str]
) -> Capabilities:
    """The sets, without what the kernel does not have, or the runtime cannot grant: the spec wants
    a warning, no error, and so do runc's callers, in these words."""
    if given is None:
        return Capabilities()
    # whoever is root of a user namespace holds all of them there
    apart = any(one.type == "user" for one in linux.namespaces or ())
    held, last = -1 if apart else host.capabilities, host.last_capability
    sets: dict[str, Any] = {}
    ignored: set[str] = set()
    for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        listed = getattr(given, name) or ()
        sets[name] = tuple(
            one for one in listed if known(one) and number(one) <= last and held >> number(one) & 1
        )
        ignored.update(set(listed) - set(sets[name]))
    if ignored:
        notices.append(
            f"ignoring unknown or unavailable capabilities: [{' '.join(sorted(ignored))}]"
        )
    both = set(sets["permitted"]) & set(sets["inheritable"])
    lost = [one for one in sets["ambient"] if one not in both]
    if lost:
        # capabilities(7): the kernel refuses to raise them; runc warns, in these words, and goes on
        notices += [
            f"can't raise ambient capability {name}: it is not permitted and inheritable"
            for name in lost
        ]
        sets["ambient"] = tuple(one for one in sets["ambient"] if one in both)
    return replace(given, **sets)
