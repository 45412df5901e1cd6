"""Seccomp filters: from the spec's JSON to BPF, by libseccomp (through its binding pyseccomp).

Owns the translation of names. Loading a filter is one system call and none of this file's.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Any

from mobyshell.core.errors import SyscallFailed, Unsupported

_FILTER_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1, "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}  # fmt: skip


def binding() -> Any:
    """The module pyseccomp. Unsupported if it, or libseccomp itself, is missing."""
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError):
        raise Unsupported(
            "seccomp filters need libseccomp.so.2, which is not on this machine",
            hint="apt install libseccomp2",
        ) from None
    return pyseccomp


def compile_filter(document: Mapping[str, Any]) -> tuple[bytes, int, str]:
    """(BPF program, flags for seccomp(2), a summary) of `linux.seccomp` as JSON values.

    System calls that this libseccomp does not know are passed over, as runc does: a profile lists
    those of all architectures and kernels. Unsupported for the notify action, for whose listener
    there is no place to go yet.
    """
    lib = binding()
    default = document["defaultAction"]
    rules = document.get("syscalls") or ()
    if document.get("listenerPath") or "SCMP_ACT_NOTIFY" in (
        default, *(rule["action"] for rule in rules)
    ):  # fmt: skip
        raise Unsupported(
            "linux.seccomp: SCMP_ACT_NOTIFY is not supported by this version of mobyshell",
            hint="take it out of config.json, or run the bundle with runc or crun",
        )
    flags = 0
    for name in document.get("flags") or ():
        flags |= _FILTER_FLAGS[name]
    default_action = _action(lib, default, document.get("defaultErrnoRet"))
    made = lib.SyscallFilter(default_action)
    # whether no_new_privs is set is the plan's business, and not a part of the program
    made.set_attr(lib.Attr.CTL_NNP, 0)
    _architectures(lib, made, document.get("architectures") or ())
    count = 0
    for rule in rules:
        action = _action(lib, rule["action"], rule.get("errnoRet"))
        if action == default_action:
            continue  # libseccomp refuses rules that say nothing
        for name in rule["names"]:
            count += _rule(lib, made, name, action, rule.get("args") or ())
    summary = f"default {default.removeprefix('SCMP_ACT_').lower()}, {count} rules"
    return _export(made), flags, summary


def _action(lib: Any, name: str, code: int | None) -> int:
    value = errno.EPERM if code is None else code
    actions = {
        "SCMP_ACT_KILL": lambda: lib.KILL_THREAD, "SCMP_ACT_KILL_THREAD": lambda: lib.KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS": lambda: lib.KILL_PROCESS, "SCMP_ACT_TRAP": lambda: lib.TRAP,
        "SCMP_ACT_ERRNO": lambda: lib.ERRNO(value), "SCMP_ACT_TRACE": lambda: lib.TRACE(value),
        "SCMP_ACT_ALLOW": lambda: lib.ALLOW, "SCMP_ACT_LOG": lambda: lib.LOG,
    }  # fmt: skip
    return int(actions[name]())


def _architectures(lib: Any, made: Any, names: Any) -> None:
    for name in names:
        token = getattr(lib.Arch, name.removeprefix("SCMP_ARCH_"), None)
        if token is None:
            raise Unsupported(f"linux.seccomp.architectures: {name} is unknown to this libseccomp")
        if not made.exist_arch(token):
            made.add_arch(token)


_OPERATORS = {
    "SCMP_CMP_NE": "NE", "SCMP_CMP_LT": "LT", "SCMP_CMP_LE": "LE", "SCMP_CMP_EQ": "EQ",
    "SCMP_CMP_GE": "GE", "SCMP_CMP_GT": "GT", "SCMP_CMP_MASKED_EQ": "MASKED_EQ",
}  # fmt: skip


def _rule(lib: Any, made: Any, name: str, action: int, conditions: Any) -> int:
    """Add one rule; how many rules that were."""
    number = lib.resolve_syscall(lib.Arch.NATIVE, name)
    if number == -1:  # __NR_SCMP_ERROR: nobody here knows it
        return 0
    args = [
        lib.Arg(one["index"], getattr(lib, _OPERATORS[one["op"]]), one["value"],
                one.get("valueTwo") or 0)
        for one in conditions
    ]  # fmt: skip
    # several conditions on one argument mean any of them (as runc reads it): a rule each
    indices = [one["index"] for one in conditions]
    groups = [args] if len(set(indices)) == len(indices) else [[one] for one in args]
    for group in groups:
        try:
            made.add_rule(action, name, *group)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise SyscallFailed("seccomp_rule_add", error.errno or 0, path=name) from None
    return len(groups)


def _export(made: Any) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with open(fd, "r+b", buffering=0) as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()
