"""The network namespace of a container that was made without networks, kept from now on.

With `--network none` it is its first process's, and goes with that. What is joined later shall last
until the task is deleted, also through its restarts: so the namespace is mounted, as those of other
containers are from their beginning, and its config names the mount from now on.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mobyshell.core.errors import WrongState
from mobyshell.core.network.planner import Identity, Terms, plan_attach
from mobyshell.core.network.values import HOST, Attachment, Operation
from mobyshell.core.network.work import work

if TYPE_CHECKING:
    from mobyshell.core.network.attach import Networking

_TRIES = 5


def _nobody(_: Attachment) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Process:
    """A container's first. `pid`: 0 while it has none. `respell`: has the config name the namespaces
    of an attachment, and says who is the first process then."""

    pid: int = 0
    respell: Callable[[Attachment], int] = _nobody


def keep(home: Networking, attachment: Attachment, process: Process, fd: int) -> Attachment:
    """Let an attachment that is in no network have its namespace kept, if that is not so. `fd`: its
    lock. What a death leaves in between is done by who comes next.

    WrongState if there is no namespace, and none that could be made before the container is.
    """
    kept = where_kept(home, attachment)
    pid = process.pid
    for _ in range(_TRIES):
        if not _is_kept(kept, pid):
            home.records.write(kept)  # first: who lets go of it unmounts it
            steps = plan_keeping(home.identity(kept.id), kept, pid)
            work(steps, host=home.host, netns=kept.netns or "", lock=fd)
        pid = process.respell(kept)
        if _is_kept(kept, pid):
            return kept
        # it was started again before its config said where
    raise WrongState(f"{attachment.id} is started again and again", hint="try again")


def where_kept(home: Networking, attachment: Attachment) -> Attachment:
    """The attachment as it is when its namespace is kept."""
    if attachment.netns:
        return attachment
    owned = attachment.users is not None and not attachment.users.path
    userns = home.records.userns(attachment.namespace, attachment.id) if owned else ""
    return replace(attachment, netns=home.records.netns(attachment.namespace, attachment.id),
                   userns=userns, pinned=True)  # fmt: skip


def plan_keeping(identity: Identity, kept: Attachment, pid: int) -> tuple[Operation, ...]:
    """What has the namespaces of the process kept, or makes them while there is none."""
    netns = kept.netns or ""
    if not pid:
        if kept.users is not None:
            raise WrongState(f"{kept.id} has users of its own, and no process with its network now",
                             hint="start it first")  # fmt: skip
        return plan_attach(identity, (), Terms(netns, pin=True)).operations
    paths = {"net": netns, **({"user": kept.userns} if kept.userns else {})}
    shell = " && ".join(f"touch {shlex.quote(path)} && mount --bind /proc/{pid}/ns/{kind} {shlex.quote(path)}"
                        for kind, path in paths.items())  # fmt: skip
    return (
        Operation("keep", HOST, {"pid": pid, "paths": paths},
                  "its network namespace outlives its processes from now on", shell),
    )  # fmt: skip


def _is_kept(attachment: Attachment, pid: int) -> bool:
    """Whether the mount is there, and is the process's, if there is one."""
    try:
        there = os.stat(attachment.netns or "")
        above = os.stat(os.path.dirname(attachment.netns or ""))
        if there.st_dev == above.st_dev:
            return False  # the file alone
        return not pid or os.path.samestat(there, os.stat(f"/proc/{pid}/ns/net"))
    except FileNotFoundError:
        return False
