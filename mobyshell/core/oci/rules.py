"""What the spec demands beyond types: one function a rule, each says where and why.

Pure; works on a spec whose types are right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mobyshell.core.oci.kinds import Problem
from mobyshell.core.oci.process import IDMapping
from mobyshell.core.oci.safejson import show
from mobyshell.core.oci.spec import Spec

Rule = Callable[[Spec], Iterator[Problem]]


def apply_rules(spec: Spec) -> list[Problem]:
    """Every rule that the spec breaks."""
    return [problem for rule in _RULES for problem in rule(spec)]


def _complete(spec: Spec) -> Iterator[Problem]:
    if spec.process is None:
        yield Problem(
            "process", "nothing", "it is required to start a container", "config.md#process"
        )
    elif not spec.process.args:
        yield Problem(
            "process.args", "nothing", "args must not be empty", "config.md#posix-process"
        )
    elif not spec.process.args[0]:
        yield Problem("process.args[0]", '""', "the name of a program", "config.md#posix-process")
    if spec.root is None:
        yield Problem("root", "nothing", "it is required on Linux", "config.md#root")
    if spec.linux is None:
        yield Problem("linux", "nothing", "it is required on Linux", "config.md#platform-specific")


def _namespaces(spec: Spec) -> Iterator[Problem]:
    section = "config-linux.md#namespaces"
    seen: set[str] = set()
    for index, one in enumerate(spec.linux.namespaces or () if spec.linux else ()):
        if one.type in seen:
            yield Problem(f"linux.namespaces[{index}].type", f'"{one.type}" again',
                          "each type once", section)  # fmt: skip
        seen.add(one.type)


def _has(spec: Spec, kind: str) -> bool:
    namespaces = spec.linux.namespaces or () if spec.linux else ()
    return any(one.type == kind for one in namespaces)


def _names(spec: Spec) -> Iterator[Problem]:
    if _has(spec, "uts"):
        for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
            if value and len(value.encode()) > 64:
                yield Problem(name, show(value), "at most 64 bytes", f"config.md#{name}")
        return
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if value:
            yield Problem(
                name, show(value), "nothing, or a uts namespace for it", f"config.md#{name}"
            )


def _overlap(mappings: Sequence[IDMapping], attribute: str) -> int | None:
    """The index of a mapping that overlaps an earlier one."""
    for index, one in enumerate(mappings):
        start = getattr(one, attribute)
        for other in mappings[:index]:
            begin = getattr(other, attribute)
            if start < begin + other.size and begin < start + one.size:
                return index
    return None


def _mappings(spec: Spec) -> Iterator[Problem]:
    section = "config-linux.md#user-namespace-mappings"
    if spec.linux is None:
        return
    new_user = any(one.type == "user" and not one.path for one in spec.linux.namespaces or ())
    for name, mappings in (
        ("uidMappings", spec.linux.uid_mappings), ("gidMappings", spec.linux.gid_mappings),
    ):  # fmt: skip
        path = f"linux.{name}"
        if mappings and not new_user:
            yield Problem(
                path, f"{len(mappings)} mappings", "none without a new user namespace", section
            )
        if not mappings and new_user:
            yield Problem(path, "nothing", "a mapping for the new user namespace", section)
        if mappings and len(mappings) > 340:
            # the kernel's limit (user_namespaces(7))
            yield Problem(path, f"{len(mappings)} mappings", "at most 340", section)
        for attribute, word in (("container_id", "containerID"), ("host_id", "hostID")):
            index = _overlap(mappings or (), attribute)
            if index is not None:
                yield Problem(f"{path}[{index}].{word}", "a range that overlaps another",
                              "ranges apart from each other", section)  # fmt: skip


def _rlimits(spec: Spec) -> Iterator[Problem]:
    section = "config.md#posix-process"
    seen: set[str] = set()
    for index, one in enumerate(spec.process.rlimits or () if spec.process else ()):
        path = f"process.rlimits[{index}]"
        if one.type in seen:
            yield Problem(f"{path}.type", f'"{one.type}" again', "each type once", section)
        seen.add(one.type)
        if one.soft > one.hard:
            yield Problem(f"{path}.soft", str(one.soft), f"at most hard, {one.hard}", section)


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
    return "network" if key.startswith("net.") else None


def _sysctls(spec: Spec) -> Iterator[Problem]:
    section = "config-linux.md#sysctl"
    for key in spec.linux.sysctl or () if spec.linux else ():
        path = f'linux.sysctl["{show(key)[1:-1]}"]'
        needs = sysctl_namespace(key.replace("/", "."))
        if ".." in key or key.startswith("/"):
            yield Problem(path, show(key), "a name such as net.ipv4.ip_forward", section)
        elif needs is None:
            yield Problem(
                path, show(key), "a parameter of the ipc, network or uts namespace", section
            )
        elif not _has(spec, needs):
            yield Problem(path, show(key), f"it with a {needs} namespace: it is not in a separate "
                          "kernel namespace", section)  # fmt: skip


def _devices(spec: Spec) -> Iterator[Problem]:
    section = "config-linux.md#devices"
    for index, one in enumerate(spec.linux.devices or () if spec.linux else ()):
        path = f"linux.devices[{index}]"
        if one.type != "p":
            for name, value in (("major", one.major), ("minor", one.minor)):
                if value is None or not 0 <= value < 2**32:
                    found = "nothing" if value is None else str(value)
                    yield Problem(f"{path}.{name}", found, "the number of the device", section)
        if ".." in one.path.split("/") or one.path.rstrip("/") in ("", "/dev"):
            yield Problem(f"{path}.path", show(one.path), "the path of a device", section)


def _device_rules(spec: Spec) -> Iterator[Problem]:
    section = "config-linux.md#allowed-device-list"
    resources = spec.linux.resources if spec.linux else None
    for index, one in enumerate(resources.devices or () if resources else ()):
        access = one.access
        if access is not None and (set(access) - set("rwm") or len(set(access)) != len(access)):
            yield Problem(f"linux.resources.devices[{index}].access", show(access),
                          "r, w and m, each at most once", section)  # fmt: skip


def _cpu_list(value: str) -> bool:
    """Whether `value` is a list as in cpuset(7): 0-3,7."""
    for part in value.split(","):
        low, dash, high = part.strip().partition("-")
        if not (low.isdecimal() and low.isascii()) or len(low) > 6:
            return False
        if dash and (
            not (high.isdecimal() and high.isascii()) or len(high) > 6 or int(high) < int(low)
        ):
            return False
    return True


def _cpus(spec: Spec) -> Iterator[Problem]:
    cpu = spec.linux.resources.cpu if spec.linux and spec.linux.resources else None
    if cpu is None:
        return
    for name, value in (("cpus", cpu.cpus), ("mems", cpu.mems)):
        if value and not _cpu_list(value):
            yield Problem(f"linux.resources.cpu.{name}", show(value), "a list such as 0-3,7",
                          "config-linux.md#cpu")  # fmt: skip


def _unified(spec: Spec) -> Iterator[Problem]:
    resources = spec.linux.resources if spec.linux else None
    for key in resources.unified or () if resources else ():
        if "/" in key or "." not in key:
            yield Problem(f"linux.resources.unified[{show(key)}]", show(key),
                          "the name of a control file", "config-linux.md#unified")  # fmt: skip


def _cgroups_path(spec: Spec) -> Iterator[Problem]:
    path = spec.linux.cgroups_path if spec.linux else None
    if path and ".." in path.split("/"):
        yield Problem(
            "linux.cgroupsPath", show(path), "a path without ..", "config-linux.md#cgroups-path"
        )


def _mounts(spec: Spec) -> Iterator[Problem]:
    for index, one in enumerate(spec.mounts or ()):
        path, section = f"mounts[{index}]", "config.md#mounts"
        if not one.destination.startswith("/"):
            yield Problem(f"{path}.destination", show(one.destination), "an absolute path", section)
        binds = {"bind", "rbind"} & set(one.options or ())
        if binds and not one.source:
            yield Problem(f"{path}.source", "nothing", "what to bind", section)
        if not binds and not one.type:
            yield Problem(f"{path}.type", "nothing", "a filesystem, or the option bind", section)


def _seccomp(spec: Spec) -> Iterator[Problem]:
    section = "config-linux.md#seccomp"
    seccomp = spec.linux.seccomp if spec.linux else None
    if seccomp is None:
        return
    for index, rule in enumerate(seccomp.syscalls or ()):
        path = f"linux.seccomp.syscalls[{index}]"
        if not rule.names:
            yield Problem(f"{path}.names", "nothing", "at least one system call", section)
        if rule.errno_ret is not None and rule.action not in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
            yield Problem(f"{path}.errnoRet", str(rule.errno_ret),
                          "only with SCMP_ACT_ERRNO or SCMP_ACT_TRACE", section)  # fmt: skip
        for number, arg in enumerate(rule.args or ()):
            if arg.index > 5:
                yield Problem(f"{path}.args[{number}].index", str(arg.index), "0 to 5", section)
    if seccomp.listener_metadata and not seccomp.listener_path:
        yield Problem("linux.seccomp.listenerMetadata", show(seccomp.listener_metadata),
                      "only with listenerPath", section)  # fmt: skip


def _environment(spec: Spec) -> Iterator[Problem]:
    for index, one in enumerate(spec.process.env or () if spec.process else ()):
        if not one.partition("=")[0]:
            yield Problem(
                f"process.env[{index}]", show(one), "NAME=VALUE", "config.md#posix-process"
            )


_RULES: tuple[Rule, ...] = (
    _complete, _environment, _rlimits, _names, _mounts, _namespaces, _mappings, _sysctls,
    _device_rules, _cpus, _unified, _cgroups_path, _devices, _seccomp,
)  # fmt: skip
