"""Who may use which device on cgroup v2: the spec's rules as an eBPF program on the group.

Owns the translation of `linux.resources.devices` into instructions (pure), and loading and
attaching (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE). The kernel runs the program at every mknod and
open of a device in the group; 1 allows, 0 refuses.

What rules mean, as on v1: for each access asked for (read, write, mknod) the last rule that
matches the device and has that access decides; all accesses asked for must be allowed. What no
rule matches is refused (config-linux.md#allowed-device-list). Sources: bpf(2),
include/uapi/linux/bpf.h (bpf_cgroup_dev_ctx), Documentation/bpf/standardization/.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from mobyshell.core.errors import SyscallFailed, Unsupported
from mobyshell.core.linux.syscalls import call

LOAD, ATTACH, DETACH, GET_FD_BY_ID, INFO_BY_FD, QUERY = 5, 8, 9, 13, 15, 16
PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
ALLOW_MULTI, REPLACE = 2, 4
NAME = b"mobyshell_dev"
"""What our programs are called, to tell them from systemd's and others' on the same group."""
LICENSE = "MIT"

# bpf_cgroup_dev_ctx: access_type = accesses << 16 | kind
KINDS = {"b": 1, "c": 2}
ACCESSES = {"m": 1, "r": 2, "w": 4}
EVERY = 7

_CTX, _KIND, _ASKED, _MAJOR, _MINOR = 1, 2, 3, 4, 5
_LOAD_U32, _EXIT, _MOVE_IMMEDIATE = 0x61, 0x95, 0xB7
# 32-bit arithmetic and jumps: numbers of devices use all 32 bits, and immediates are signed
_MOVE, _AND, _SHIFT_RIGHT = 0xBC, 0x54, 0x74
_IF_EQUAL, _IF_NOT_EQUAL, _IF_ANY_BIT, _GO = 0x16, 0x56, 0x46, 0x05


def instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One instruction (struct bpf_insn)."""
    return struct.pack("<BBhI", code, source << 4 | to, offset, value & 0xFFFFFFFF)


def program(rules: Sequence[Mapping[str, Any]]) -> bytes:
    """The instructions for `rules` (as in `linux.resources.devices`).

    They walk the rules from the last to the first, and take from the accesses asked for those
    that a rule decides: none left means all are allowed.
    """
    code = [
        instruction(_LOAD_U32, _KIND, _CTX, 0),
        instruction(_MOVE, _ASKED, _KIND),
        instruction(_AND, _KIND, value=0xFFFF),
        instruction(_SHIFT_RIGHT, _ASKED, value=16),
        instruction(_LOAD_U32, _MAJOR, _CTX, 4),
        instruction(_LOAD_U32, _MINOR, _CTX, 8),
        instruction(_IF_NOT_EQUAL, _ASKED, offset=2, value=0),
        *_answer(1),
    ]
    for rule in reversed(rules):
        conditions = _conditions(rule)
        access = accesses(rule)
        decides_all = not conditions and access == EVERY
        if decides_all:
            # nothing before this one matters; the verifier refuses what can never be reached
            return b"".join((*code, *_answer(int(bool(rule.get("allow"))))))
        body = _allow(access) if rule.get("allow") else _deny(access)
        code += [
            instruction(_IF_NOT_EQUAL, register, offset=len(conditions) - position - 1 + len(body),
                        value=value)
            for position, (register, value) in enumerate(conditions)
        ]  # fmt: skip
        code += body
    return b"".join((*code, *_answer(0)))


def accesses(rule: Mapping[str, Any]) -> int:
    """The accesses of a rule as bits; none given means all."""
    return sum(ACCESSES[one] for one in set(rule.get("access") or "rwm"))


def _conditions(rule: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(register, value) that must be equal for the rule to match a device."""
    found = []
    kind = rule.get("type") or "a"
    if kind != "a":
        found.append((_KIND, KINDS[kind]))
    for register, name in ((_MAJOR, "major"), (_MINOR, "minor")):
        value = rule.get(name)
        if value is not None and value >= 0:
            found.append((register, value))
    return found


def _answer(value: int) -> list[bytes]:
    return [instruction(_MOVE_IMMEDIATE, 0, value=value), instruction(_EXIT)]


def _allow(access: int) -> list[bytes]:
    return [
        instruction(_AND, _ASKED, value=~access),
        instruction(_IF_NOT_EQUAL, _ASKED, offset=2, value=0),
        *_answer(1),
    ]


def _deny(access: int) -> list[bytes]:
    return [
        instruction(_IF_ANY_BIT, _ASKED, offset=1, value=access),
        instruction(_GO, offset=2),
        *_answer(0),
    ]


def tags(instructions: bytes) -> set[str]:
    """What the kernel may call a program by its content: SHA-1, or SHA-256 since Linux 6.18."""
    import hashlib

    return {
        hashlib.sha1(instructions, usedforsecurity=False).hexdigest()[:16],
        hashlib.sha256(instructions).hexdigest()[:16],
    }


def load_attributes(
    count: int, instructions: int, license: int, log: int = 0, log_size: int = 0
) -> bytes:
    """`union bpf_attr` of BPF_PROG_LOAD; `instructions`, `license` and `log` are addresses."""
    return struct.pack(
        "=IIQQIIQII16sII", PROG_TYPE_CGROUP_DEVICE, count, instructions, license, int(bool(log)),
        log_size, log, 0, 0, NAME, 0, BPF_CGROUP_DEVICE,
    )  # fmt: skip


def attach_attributes(group: int, program: int, replace: int = 0) -> bytes:
    """`union bpf_attr` of BPF_PROG_ATTACH; with `replace`, in the place of that one."""
    flags = ALLOW_MULTI | (REPLACE if replace else 0)
    return struct.pack("=IIIII", group, program, BPF_CGROUP_DEVICE, flags, replace)


def _bpf(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    try:
        return call("bpf", command, buffer, len(attributes), what=what), buffer.raw
    except SyscallFailed as error:
        error.hint = HINTS.get(error.errno, error.hint)
        raise


HINTS = {
    errno.EPERM: "loading a device filter needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, of the "
    "initial user namespace; before Linux 5.11 also a high enough RLIMIT_MEMLOCK",
    errno.ENOSYS: "device rules on cgroup v2 need a kernel with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF",
    errno.EINVAL: "device rules on cgroup v2 need a kernel with CONFIG_CGROUP_BPF",
    errno.E2BIG: "there are more programs on this cgroup than the kernel takes, or too many rules",
}


def load(instructions: bytes) -> int:
    """Load a program; a descriptor of it, to be closed. SyscallFailed, whose hint is the last of
    what the kernel's verifier said, if it said anything."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license = ctypes.create_string_buffer(LICENSE.encode())
    where = (len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(license))
    what = "load the device filter"
    try:
        return _bpf(LOAD, load_attributes(*where), what)[0]
    except SyscallFailed as error:
        if error.errno not in (errno.EINVAL, errno.EACCES):
            raise
        log = ctypes.create_string_buffer(1 << 16)
        try:
            # once more, with words: a log makes a load that works slower
            return _bpf(LOAD, load_attributes(*where, ctypes.addressof(log), len(log)), what)[0]
        except SyscallFailed as again:
            lines = log.value.decode(errors="replace").strip().splitlines()
            said = "; ".join(line.strip() for line in lines[-3:])
            if said:
                again.hint = f"the verifier says: {said}"
            raise again from None


def attach(group: str, instructions: bytes) -> None:
    """Put the program on the group's directory, in the place of ours that is there already.

    Others' programs (systemd's) stay: all of them must allow an access.
    """
    fd = load(instructions)
    directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    ours: list[int] = []
    what = f"attach the device filter to {group}"
    try:
        ours = [one for one, name, _ in _attached(directory) if name == NAME]
        _bpf(ATTACH, attach_attributes(directory, fd, ours[0] if ours else 0), what)
        for one in ours[1:]:
            _bpf(DETACH, struct.pack("=IIII", directory, one, BPF_CGROUP_DEVICE, 0), what)
    finally:
        for one in (fd, directory, *ours):
            os.close(one)


def attached(group: str) -> list[tuple[str, str]]:
    """(name, tag) of the programs on the group's directory, those of others included."""
    directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = _attached(directory)
        for fd, _, _ in found:
            os.close(fd)
        return [(name.decode(errors="replace"), tag) for _, name, tag in found]
    finally:
        os.close(directory)


_MOST = 64
_INFO_SIZE = 232


def _attached(directory: int) -> list[tuple[int, bytes, str]]:
    """(descriptor, name, tag) of each program; the descriptors are the caller's to close."""
    ids = (ctypes.c_uint32 * _MOST)()
    query = struct.pack("=IIIIQIIQ", directory, BPF_CGROUP_DEVICE, 0, 0, ctypes.addressof(ids),
                        _MOST, 0, 0)  # fmt: skip
    _, answer = _bpf(QUERY, query, "ask for the device filters")
    count = struct.unpack_from("=I", answer, 24)[0]
    found = []
    for id in ids[:count]:
        try:
            fd, _ = _bpf(GET_FD_BY_ID, struct.pack("=III", id, 0, 0), "open a device filter")
        except SyscallFailed as error:
            if error.errno == errno.ENOENT:
                continue  # detached meanwhile
            raise
        info = ctypes.create_string_buffer(_INFO_SIZE)
        request = struct.pack("=IIQ", fd, _INFO_SIZE, ctypes.addressof(info))
        _bpf(INFO_BY_FD, request, "look at a device filter")
        found.append((fd, info.raw[64:80].rstrip(b"\0"), info.raw[8:16].hex()))
    return found


def available() -> None:
    """Whether device rules can be enforced here on v2. Unsupported, or SyscallFailed, if not."""
    try:
        os.close(load(program(())))
    except SyscallFailed as error:
        if error.errno == errno.EPERM:
            raise
        raise Unsupported("this kernel takes no device filter", hint=error.hint) from None
