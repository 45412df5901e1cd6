"""Rules about mounts, hidden paths and device nodes."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from mobyshell.core.oci.kinds import Problem
from mobyshell.core.oci.rules.common import each, has
from mobyshell.core.oci.rules.namespaces import ranges
from mobyshell.core.oci.safejson import show
from mobyshell.core.oci.spec import Spec

_MOUNTS = "config.md#mounts"
_POSIX = "config.md#posix-platform-mounts"
_DEVICES = "config-linux.md#devices"

MAJORS, MINORS = 2**12, 2**20
"""A device number has so many bits (linux/kdev_t.h); of more the kernel would take the low ones,
which are those of another device."""


def mounts(spec: Spec) -> Iterator[Problem]:
    """A bind has a source, anything else a filesystem."""
    for index, one in each(spec.mounts):
        path = f"mounts[{index}]"
        options = set(one.options or ())
        if "remount" in options:
            continue  # of what is there already
        binds = {"bind", "rbind"} & options
        if binds and not one.source:
            yield Problem(f"{path}.source", "nothing", "what to bind", _MOUNTS)
        if not binds and not one.type:
            yield Problem(f"{path}.type", "nothing", "a filesystem, or the option bind", _POSIX)
        if not binds and one.type == "bind":
            # not a filesystem: runc fails with ENODEV
            yield Problem(f"{path}.type", '"bind"', "it with the option bind or rbind", _POSIX)


def id_mapped(spec: Spec) -> Iterator[Problem]:
    """Maps come in pairs, for binds; without any, those of the user namespace are meant."""
    user = has(spec, "user")
    for index, one in each(spec.mounts):
        options = set(one.options or ())
        asked = bool(options & {"idmap", "ridmap"})
        if not (asked or one.uid_mappings or one.gid_mappings):
            continue
        path = f"mounts[{index}]"
        for name, given, other in (
            ("uidMappings", one.uid_mappings, one.gid_mappings),
            ("gidMappings", one.gid_mappings, one.uid_mappings),
        ):
            if other and not given:
                yield Problem(f"{path}.{name}", "nothing", "both mappings, or none", _POSIX)
            yield from ranges(given or (), f"{path}.{name}")
        if (one.uid_mappings or one.gid_mappings) and not options & {"bind", "rbind"}:
            yield Problem(f"{path}.options", "no bind", "mappings only of a bind", _POSIX)
        if asked and not (one.uid_mappings or one.gid_mappings or user):
            yield Problem(f"{path}.options", "idmap", "it with mappings or a user namespace",
                          "config.md#linux-mount-options")  # fmt: skip


def paths(spec: Spec) -> Iterator[Problem]:
    """Hiding a path is a mount: in the host's own mount namespace it would hide the host's."""
    if spec.linux is None or has(spec, "mount"):
        return
    for name, given, section in (
        ("maskedPaths", spec.linux.masked_paths, "masked-paths"),
        ("readonlyPaths", spec.linux.readonly_paths, "readonly-paths"),
    ):
        if given:
            yield Problem(f"linux.{name}", show(list(given)), "none without a mount namespace",
                          f"config-linux.md#{section}")  # fmt: skip


def devices(spec: Spec) -> Iterator[Problem]:
    """Device nodes have numbers the kernel can hold, and a place of their own."""
    types = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
    for index, one in each(spec.linux.devices if spec.linux else None):
        path = f"linux.devices[{index}]"
        if one.type != "p":
            for name, value, end in (("major", one.major, MAJORS), ("minor", one.minor, MINORS)):
                if value is None or not 0 <= value < end:
                    found = "nothing" if value is None else str(value)
                    yield Problem(f"{path}.{name}", found, f"a number from 0 to {end - 1}",
                                  _DEVICES)  # fmt: skip
        kind = stat.S_IFMT(one.file_mode or 0)
        if kind and kind != types[one.type]:
            yield Problem(f"{path}.fileMode", f"the type {kind:#o}",
                          f"permissions, or the type of a {one.type} device", _DEVICES)  # fmt: skip
        if ".." in one.path.split("/") or one.path.rstrip("/") in ("", "/dev"):
            yield Problem(f"{path}.path", show(one.path), "the path of a device", _DEVICES)
