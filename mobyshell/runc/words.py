"""The library's errors in the words that callers of runc look for.

containerd, docker and podman decide by these texts what has happened (research: runtime.md of the
project's notes; go-runc, containerd/pkg/process, podman/libpod/oci_conmon). What the library adds
for people stays in the hint.
"""

from __future__ import annotations

import errno
import os

from mobyshell.core.errors import (
    AlreadyExists,
    HookFailed,
    InvalidSpec,
    MobyshellError,
    NotFound,
    SyscallFailed,
    Unsupported,
    UsageError,
    WrongState,
)

_STARTING = ("create", "run", "exec", "restore")

# part of a rule's words → what runc says of the same
_SPEC = (
    ("process.cwd", "Cwd must be an absolute path"),
    ("process.args", "args must not be empty"),
    ("process: found nothing", "process property must not be empty"),
)


def said(error: MobyshellError, command: str) -> str:
    """One line for the log, and for stderr."""
    return prefixed(command, _core(error, command))


def prefixed(command: str, text: str) -> str:
    """With the name of what failed, where runc has it."""
    if command == "exec":
        return f"exec failed: {text}"
    if command in ("create", "run"):
        return f"runc {command} failed: {text}"
    return text


def _core(error: MobyshellError, command: str) -> str:
    message = error.message
    if isinstance(error, InvalidSpec):
        return _spec(error)
    if isinstance(error, (NotFound, AlreadyExists, WrongState, UsageError)):
        return _without_id(message)
    if isinstance(error, HookFailed) and command in _STARTING:
        return f"unable to start container process: {message}"
    if isinstance(error, Unsupported):
        invalid = "invalid configuration: " if "resources.unified" in message else ""
        return invalid + message + (f" ({error.hint})" if error.hint else "")
    if isinstance(error, SyscallFailed) and command in _STARTING:
        return _in_init(_call(error, command), command)
    if isinstance(error, SyscallFailed) and error.syscall == "pidfd_send_signal" and error.hint:
        return f"unable to signal init: {os.strerror(error.errno).lower()} ({error.hint})"
    if isinstance(error, SyscallFailed) and command == "update" and error.hint:
        return f"{message} ({error.hint})"
    if "(mounts[" in message and command in _STARTING:
        return _in_init(message, command)
    return message


def _in_init(message: str, command: str) -> str:
    what = "error mounting: " if "(mounts[" in message else ""
    # a process that joins a container is none of its init
    where = "" if command == "exec" else "error during container init: "
    return f"unable to start container process: {where}{what}{message}"


def _call(error: SyscallFailed, command: str) -> str:
    """Strings such as `no such file or directory` are matched in lower case."""
    if error.syscall == "execve":
        if error.what.startswith("execute "):
            # it was found before: what is missing now is what it needs, its interpreter or loader
            reason = error.message.partition('": ')[2]
            return f"exec {error.path}: {reason}"
        return error.message
    if (
        error.errno == errno.EEXIST
        and error.what.startswith("make the ")
        and "cgroup" in error.what
    ):
        return _taken(error)
    if error.errno == errno.ELOOP and error.what.startswith(("mount proc on ", "mount sysfs on ")):
        place = error.what.split()[3]
        return f'filesystem "{place}" must be mounted on ordinary directory: {error.message}'
    if error.what.startswith("change to "):
        reason = error.message.rpartition(": ")[2].lower()
        return f'chdir to cwd ("{error.path}") set in config.json failed: {reason}'
    if error.what.endswith("(process.apparmorProfile)") and error.syscall == "write":
        return _profile(error, command)
    head, _, reason = error.message.rpartition(": ")
    # what the hint says is all that some errors say: which power, which other setting is in the way
    said = f" ({error.hint})" if error.hint else ""
    return f"{head}: {reason[:1].lower()}{reason[1:]}{said}"


def _profile(error: SyscallFailed, command: str) -> str:
    """What AppArmor refuses, or does not know."""
    where = "" if command == "exec" else "unable to apply apparmor profile: "
    reason = os.strerror(error.errno).lower()
    said = f" ({error.what}; {error.hint})" if error.hint else f" ({error.what})"
    return f"{where}apparmor failed to apply profile: write /proc/{error.path}: {reason}{said}"


def _taken(error: SyscallFailed) -> str:
    """A cgroup that is there already; of whose own are used by somebody."""
    from mobyshell.core.linux import cgroups

    if cgroups.frozen({"freezer" if "/freezer/" in error.path else "": error.path}):
        return f"container's cgroup unexpectedly frozen: {error.path}"
    return f"container's cgroup is not empty, or not ours: {error.path} is there already"


def _spec(error: InvalidSpec) -> str:
    for part, words in _SPEC:
        if any(one.startswith(part) for one in error.problems):
            return words
    for name in ("mode", "flag", "node"):
        problem = next((one for one in error.problems if f"linux.memoryPolicy.{name}" in one), "")
        if problem:
            return f"invalid memory policy {name}: {problem}"
    return error.message


def _without_id(message: str) -> str:
    """`container does not exist: ID` and its like: runc does not say which."""
    head, colon, _ = message.rpartition(": ")
    known = ("container ", "cannot start ", "cannot exec ", "invalid container ID format")
    if colon and head.startswith(known) and "that is not stopped" not in head:
        other_way = " (use --ignore-paused to override)" if "a paused container" in head else ""
        return head + other_way
    return message
