"""What the keeper holds of each process, and under which names.

Owns the names; how the keeper is spoken to is `holder`'s.
"""

from __future__ import annotations

from collections.abc import Mapping

from mobyshell.core.tasks.holder import Holder
from mobyshell.core.tasks.records import Record


def hold(
    holder: Holder, record: Record, directory: str, pidfd: int, ours: Mapping[str, int]
) -> None:
    """Have the keeper keep what a process must not lose with the shim. Again: nothing."""
    fds, pid = ({**ours, "pidfd": pidfd}, record.pid) if pidfd >= 0 else (ours, 0)
    holder.hold_all(held_name(record, record.namespace, ""), fds, pid, directory)


def let_go(holder: Holder, record: Record, ours: Mapping[str, int]) -> None:
    """Undo `hold`, for a process that was not to be."""
    with holder.together():
        for kind in (*ours, "pidfd"):
            holder.drop(held_name(record, record.namespace, kind))
        holder.unwatch(record.pid)


def held_name(record: Record, namespace: str, kind: str) -> str:
    """The name under which the keeper holds a descriptor: of this run of a task, and no other."""
    return f"{namespace}/{record.id}/{record.exec_id}/{record.pid}/{kind}"
