"""`linux.seccomp`: the filter of system calls (config-linux.md#seccomp)."""

from __future__ import annotations

from typing import Any

from mobyshell.core.oci.kinds import (
    U16,
    U64,
    array,
    extras,
    integer,
    member,
    one_of,
    record,
    text,
)
from mobyshell.core.values import named_value

ACTIONS = (
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
)  # fmt: skip
OPERATORS = (
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)  # fmt: skip
ARCHITECTURES = (
    "SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH", "SCMP_ARCH_SHEB",
)  # fmt: skip
FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)  # fmt: skip


@named_value
class SeccompArg:
    """A condition on one argument of a system call."""

    index: int = member("index", integer(0, 5), required=True)
    value: int = member("value", U64, required=True)
    value_two: int | None = member("valueTwo", U64)
    op: str = member("op", one_of(*OPERATORS), required=True)
    extra: dict[str, Any] = extras()


@named_value
class SeccompSyscall:
    """What happens on these system calls, if their arguments fit."""

    names: tuple[str, ...] = member("names", array(text(empty=False)), required=True)
    action: str = member("action", one_of(*ACTIONS), required=True)
    errno_ret: int | None = member("errnoRet", U16)
    args: tuple[SeccompArg, ...] | None = member("args", array(record(SeccompArg)))
    extra: dict[str, Any] = extras()


@named_value
class Seccomp:
    """The filter: what happens by default, and the rules that differ."""

    default_action: str = member("defaultAction", one_of(*ACTIONS), required=True)
    default_errno_ret: int | None = member("defaultErrnoRet", U16)
    architectures: tuple[str, ...] | None = member("architectures", array(one_of(*ARCHITECTURES)))
    flags: tuple[str, ...] | None = member("flags", array(one_of(*FLAGS)))
    listener_path: str | None = member("listenerPath", text())
    listener_metadata: str | None = member("listenerMetadata", text())
    syscalls: tuple[SeccompSyscall, ...] | None = member("syscalls", array(record(SeccompSyscall)))
    extra: dict[str, Any] = extras()
