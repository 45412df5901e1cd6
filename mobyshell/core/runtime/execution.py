"""The last part of a plan: the process becomes what its program shall be, and executes it. Pure.

Owns its order, which is one of powers: what needs them comes first, then they are given up, and the
filter of system calls comes where it can be loaded and is in nobody's way. All that can fail comes
before the wait for `start`: it is the error of `create`, for nobody hears from the child later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci import Linux, Process, Spec, User, spec_to_json
from mobyshell.core.runtime.environment import complete
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.notification import agent_path
from mobyshell.core.runtime.operations import identity, labels, process, scheduling
from mobyshell.core.runtime.plan import Operation, Phase
from mobyshell.core.runtime.refusals import usable_capabilities, usable_labels
from mobyshell.core.values import replace

NO_ID = 2**32 - 1
"""(uid_t) -1"""

CompileSeccomp = Callable[[dict[str, Any], bool], tuple[bytes, int, str]]
"""(the spec's seccomp object, no_new_privs) → (BPF, flags for seccomp(2), a summary)."""


def execution(
    given: Process, linux: Linux, host: Host, compile_seccomp: CompileSeccomp | None,
    notices: list[str], state: str = "",
) -> tuple[list[Operation], list[Operation]]:  # fmt: skip
    """The operations that make the process what `given` says, and those at `start`, the last of
    which executes its program.

    What is left out is told in `notices`. Without `compile_seccomp` a filter is planned but empty.
    `state` is what the agent of a filter is told.
    """
    _refuse_no_id(given.user)
    capabilities = usable_capabilities(given.capabilities, linux, host, notices)
    filtered = _seccomp(given, linux, compile_seccomp)
    if filtered and (agent := agent_path(linux)):
        filtered.append(identity.hand_listener(agent, state))
    umask = given.user.umask
    operations = [identity.mask(umask if umask is not None else 0o022)]
    if linux.personality is not None:
        operations.append(scheduling.personality(linux.personality))
    operations += [process.signals(), identity.working_directory(given.cwd)]
    operations += [identity.rlimit(index, one) for index, one in enumerate(given.rlimits or ())]
    operations.append(identity.bounding_set(capabilities, host.last_capability))
    if filtered and not given.no_new_privileges:
        # without no_new_privs loading a filter needs CAP_SYS_ADMIN, which is given up next
        operations += filtered
    operations += [
        identity.become(
            given.user,
            keep_capabilities=given.user.uid != 0,
            may_set_groups=host.maps_ids and host.set_groups,
        ),
        identity.working_directory_again(given.cwd),
        identity.capability_sets(capabilities),
    ]
    last: list[Operation] = []
    if given.no_new_privileges:
        operations.append(identity.no_new_privileges())
        # after it, nothing but execve: the filter need not allow what a runtime does
        last += filtered
    last.append(process.execute(tuple(given.args or ()), complete(given.env or ())))
    return operations, last


def _refuse_no_id(user: User) -> None:
    """-1 asks setresuid(2) and its like to change nothing: whoever becomes that stays root."""
    for one in (user.uid, user.gid, *(user.additional_gids or ())):
        if not 0 <= one < NO_ID:
            raise InvalidSpec(
                f"process.user: {one} is no user or group id", hint=f"0 to {NO_ID - 1}"
            )


def confinement(spec: Spec, host: Host, compile_seccomp: CompileSeccomp) -> tuple[Operation, ...]:
    """What a hook that runs inside becomes before its program is executed: all that the container's
    own does; its labels, in the phase JOIN, before it is in there. A filter that asks an agent is
    left out: it is not for hooks that the agent waits."""
    assert spec.process is not None
    labelled = labels.planned(usable_labels(spec.process, host, []), Phase.JOIN, keyring=False)
    linux = spec.linux or Linux()
    if agent_path(linux):
        linux = replace(linux, seccomp=None)
    becoming, last = execution(spec.process, linux, host, compile_seccomp, [])
    return (*labelled, *becoming, *last[:-1])


def _seccomp(
    given: Process, linux: Linux, compile_seccomp: CompileSeccomp | None
) -> list[Operation]:
    if linux.seccomp is None:
        return []
    document = spec_to_json(linux.seccomp)
    if compile_seccomp is None:
        rules = len(document.get("syscalls") or ())
        summary = f"default {document.get('defaultAction')}, {rules} rules"
        return [identity.seccomp(b"", 0, summary)]
    return [identity.seccomp(*compile_seccomp(document, bool(given.no_new_privileges)))]
