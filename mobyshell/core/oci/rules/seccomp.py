"""Rules about the filter of system calls (config-linux.md#seccomp)."""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.oci.kinds import Problem
from mobyshell.core.oci.rules.common import each
from mobyshell.core.oci.safejson import show
from mobyshell.core.oci.spec import Spec

_SECTION = "config-linux.md#seccomp"
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_NOT_HERE = "only with SCMP_ACT_ERRNO or SCMP_ACT_TRACE"


def seccomp(spec: Spec) -> Iterator[Problem]:
    """Rules name system calls; an errno goes with the actions that return one."""
    given = spec.linux.seccomp if spec.linux else None
    if given is None:
        return
    if given.default_errno_ret is not None and given.default_action not in _WITH_ERRNO:
        yield Problem("linux.seccomp.defaultErrnoRet", str(given.default_errno_ret), _NOT_HERE,
                      _SECTION)  # fmt: skip
    if given.default_action == "SCMP_ACT_NOTIFY":
        # the agent's own socket call would wait for the agent
        yield Problem("linux.seccomp.defaultAction", '"SCMP_ACT_NOTIFY"',
                      "an action that needs no answer", _SECTION)  # fmt: skip
    for index, rule in each(given.syscalls):
        path = f"linux.seccomp.syscalls[{index}]"
        if not rule.names:
            yield Problem(f"{path}.names", "nothing", "at least one system call", _SECTION)
        if rule.errno_ret is not None and rule.action not in _WITH_ERRNO:
            yield Problem(f"{path}.errnoRet", str(rule.errno_ret), _NOT_HERE, _SECTION)
    asks = any(rule.action == "SCMP_ACT_NOTIFY" for _, rule in each(given.syscalls))
    if asks and not given.listener_path:
        yield Problem("linux.seccomp.listenerPath", "nothing",
                      "the socket of the agent that SCMP_ACT_NOTIFY asks", _SECTION)  # fmt: skip
    if given.listener_metadata and not given.listener_path:
        yield Problem("linux.seccomp.listenerMetadata", show(given.listener_metadata),
                      "only with listenerPath", _SECTION)  # fmt: skip
