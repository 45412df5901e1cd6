"""Seccomp filters: from the spec's JSON to BPF, by libseccomp (through its binding pyseccomp).

Owns the translation of names. Loading a filter is one system call and none of this file's.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Collection, Mapping
from typing import Any

from mobyshell.core.errors import SyscallFailed, Unsupported

_FILTER_FLAGS = {
    # the process that loads the filter has one thread: there is nobody to bring it to
    "SECCOMP_FILTER_FLAG_TSYNC": 0, "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}  # fmt: skip
_WAIT_KILLABLE_RECV = 32
_WITHOUT_FLAGS = ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",)
"""What a filter that says nothing of flags means to runc and crun: older kernels, and those started
with spec_store_bypass_disable=seccomp, slow whatever is filtered down otherwise."""
NEW_LISTENER = 8
"""The flag with which seccomp(2) returns the listener of a filter that notifies."""

_NOTIFY = "SCMP_ACT_NOTIFY"
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")


def library_version() -> str:
    """The version of libseccomp, such as 2.5.4; "" if there is none."""
    try:
        function = binding()._libseccomp.seccomp_version
    except (Unsupported, AttributeError):
        return ""
    function.restype = ctypes.POINTER(ctypes.c_uint * 3)
    return ".".join(str(one) for one in function().contents)


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
    those of all architectures and kernels. A filter that forbids by default answers ENOSYS to calls
    newer than all the profile knows: programs then fall back to older ones, which they do not on
    EPERM. The flags have NEW_LISTENER if the filter notifies. Unsupported for a notification that
    could never arrive.
    """
    lib = binding()
    default = document["defaultAction"]
    rules = document.get("syscalls") or ()
    flags = 0
    named = document.get("flags")
    for name in _WITHOUT_FLAGS if named is None else named:
        flags |= _FILTER_FLAGS[name]
    if any(rule["action"] == _NOTIFY for rule in rules) or default == _NOTIFY:
        _check_notify(default, rules)
        flags |= NEW_LISTENER
    else:
        flags &= ~_WAIT_KILLABLE_RECV  # of what is never asked; the kernel refuses it (EINVAL)
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
    program = _export(made)
    if default not in _PERMISSIVE and document.get("defaultErrnoRet") != errno.ENOSYS:
        names = {name for rule in rules for name in rule["names"]}
        program = unknown_calls(lib, names, document.get("architectures") or ()) + program
    return program, flags, summary


def _check_notify(default: str, rules: Any) -> None:
    """The process itself hands the listener over, by sendmsg(2), when the filter is loaded already;
    runc does it by write(2), and profiles for it know that."""
    if default == _NOTIFY:
        raise Unsupported("linux.seccomp: SCMP_ACT_NOTIFY cannot be used as default action")
    for name in ("write", "sendmsg"):
        given = [rule["action"] for rule in rules if name in rule["names"]]
        if _NOTIFY in given:
            raise Unsupported(
                f"linux.seccomp: SCMP_ACT_NOTIFY cannot be used for the {name} syscall",
                hint="the listener could not be handed to its agent",
            )
        if name == "sendmsg" and not {*(given or [default])} <= set(_PERMISSIVE):
            raise Unsupported(
                "linux.seccomp: with SCMP_ACT_NOTIFY, sendmsg must be allowed",
                hint="by it the process hands the listener to its agent",
            )


def _action(lib: Any, name: str, code: int | None) -> int:
    value = errno.EPERM if code is None else code
    actions = {
        "SCMP_ACT_KILL": lambda: lib.KILL_THREAD, "SCMP_ACT_KILL_THREAD": lambda: lib.KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS": lambda: lib.KILL_PROCESS, "SCMP_ACT_TRAP": lambda: lib.TRAP,
        "SCMP_ACT_ERRNO": lambda: lib.ERRNO(value), "SCMP_ACT_TRACE": lambda: lib.TRACE(value),
        "SCMP_ACT_ALLOW": lambda: lib.ALLOW, "SCMP_ACT_LOG": lambda: lib.LOG,
        "SCMP_ACT_NOTIFY": lambda: lib.NOTIFY,
    }  # fmt: skip
    return int(actions[name]())


def _architectures(lib: Any, made: Any, names: Any) -> None:
    for name in names:
        token = getattr(lib.Arch, name.removeprefix("SCMP_ARCH_"), None)
        if token is None:
            raise Unsupported(f"linux.seccomp.architectures: {name} is unknown to this libseccomp")
        if not made.exist_arch(token):
            _add_architecture(made, name, token)


def _add_architecture(made: Any, name: str, token: Any) -> None:
    try:
        made.add_arch(token)
    except OSError as error:
        if error.errno != errno.EDOM:
            raise
        raise Unsupported(
            f"linux.seccomp.architectures: {name} cannot be in one filter with this machine's",
            hint="its byte order is the other one, so no program of it runs here: take it out",
        ) from None


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


# classic BPF (linux/filter.h) on struct seccomp_data: the call's number is at 0, its machine at 4
_LOAD, _JUMP, _EQUAL, _GREATER, _AT_LEAST, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x06
_NUMBER_AT, _MACHINE_AT = 0, 4
_NO_SUCH_CALL = 0x00050000 | errno.ENOSYS  # SECCOMP_RET_ERRNO
_X32_BIT = 0x40000000

_Instruction = tuple[int, int, int, int]


def unknown_calls(lib: Any, names: Collection[str], architectures: Collection[str]) -> bytes:
    """BPF to put before a filter: ENOSYS for calls above the highest that `names` has on the machine
    that makes them, everything else on to the filter."""
    found = (getattr(lib.Arch, one.removeprefix("SCMP_ARCH_"), None) for one in architectures)
    tokens = {int(one) for one in (*found, lib.system_arch()) if one is not None}
    highest: dict[int, int] = {}
    for token in tokens:
        numbers = [lib.resolve_syscall(token, name) for name in names]
        if last := max((one for one in numbers if one > 0), default=0):
            highest[token] = last
    x32, x86_64 = int(lib.Arch.X32), int(lib.Arch.X86_64)
    program: list[_Instruction] = [(_LOAD, 0, 0, _MACHINE_AT)]
    for token in sorted(highest):
        if token != x32:
            section = _above(highest[token], highest.get(x32, 0) if token == x86_64 else None)
            program += [(_EQUAL, 0, len(section), token), *section]
    # sections end in a jump over what follows them: how far that is, is known only now
    length = len(program)
    return b"".join(
        struct.pack("=HBBI", code, yes, no, length - 1 - index if code == _JUMP else value)
        for index, (code, yes, no, value) in enumerate(program)
    )


def _above(last: int, x32: int | None) -> list[_Instruction]:
    """Of one machine: ENOSYS above `last`. `x32` (None: another machine than x86-64) is the highest
    of the calls that have their own bit set, 0 if the filter does not know that machine."""
    plain = [(_GREATER, 0, 1, last), (_RETURN, 0, 0, _NO_SUCH_CALL), (_JUMP, 0, 0, 0)]
    if x32 is None:
        return [(_LOAD, 0, 0, _NUMBER_AT), *plain]
    other = [(_GREATER, 0, 1, x32 | _X32_BIT), (_RETURN, 0, 0, _NO_SUCH_CALL)] if x32 else []
    return [
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, len(plain), 0, _X32_BIT),
        *plain,
        *other,
        (_JUMP, 0, 0, 0),
    ]
