"""The one stream: what happened, when, to whom; typed, timestamped, namespaced.

Owns the event envelope, the payload types, their JSON form, and the seam that emits them.
Never does I/O: who keeps or sends events implements `EventSink`.

Topics follow containerd's (`/tasks/exit`), with ours beside them (`/runtime/call`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from mobyshell.core.values import as_dict, field, value


@value
class Payload:
    """What an event says. Subclasses set `topic`; they are flat and hold JSON values only."""

    topic: ClassVar[str] = ""


@value
class CallDone(Payload):
    """One kernel call of a plan was executed (or failed, or was skipped by the plan).

    `operation` and `call` are indices into the plan, `phase` is the operation's (`plan.Phase`);
    `args` are decoded to names, in order;
    `result` is what the kernel returned (-1 with `errno` set on failure); `duration_ns` is the
    time inside the executor for this call.
    """

    topic: ClassVar[str] = "/runtime/call"
    actor: str
    operation: int
    call: int
    title: str
    name: str
    args: list[str]
    result: int
    errno: str
    duration_ns: int
    man: str
    spec: str
    skipped: bool = False
    phase: str = ""


@value
class HookDone(Payload):
    """A hook ran. `stdout` and `stderr` hold at most 4096 characters each."""

    topic: ClassVar[str] = "/runtime/hook"
    kind: str
    index: int
    path: str
    args: list[str]
    exit_status: int
    stdout: str
    stderr: str
    duration_ns: int


@value
class TaskCreated(Payload):
    topic: ClassVar[str] = "/tasks/create"
    bundle: str
    pid: int
    duration_ns: int = 0


@value
class TaskStarted(Payload):
    topic: ClassVar[str] = "/tasks/start"
    pid: int


@value
class TaskExited(Payload):
    """`exit_status` is the code, or 128+n for signal n; -1 where nobody could learn it."""

    topic: ClassVar[str] = "/tasks/exit"
    pid: int
    exit_status: int
    exec_id: str = ""


@value
class TaskOOM(Payload):
    """It wanted more memory than it may have, and the kernel kills for it."""

    topic: ClassVar[str] = "/tasks/oom"


@value
class TaskRestarting(Payload):
    """It will be started again by its policy, for the `count`-th time, after `pause_ms`."""

    topic: ClassVar[str] = "/tasks/restarting"
    policy: str
    count: int
    pause_ms: int


@value
class TaskHealth(Payload):
    """By its health check it is `health` now (healthy, unhealthy); `failing`: how often in a row that
    has failed; `exit_status`: the last one's, -1 if it had none."""

    topic: ClassVar[str] = "/tasks/health"
    health: str
    failing: int
    exit_status: int


@value
class TaskDeleted(Payload):
    topic: ClassVar[str] = "/tasks/delete"
    exit_status: int


@value
class TaskPaused(Payload):
    topic: ClassVar[str] = "/tasks/paused"


@value
class TaskResumed(Payload):
    topic: ClassVar[str] = "/tasks/resumed"


@value
class TaskSignalled(Payload):
    topic: ClassVar[str] = "/tasks/signal"
    signal: str
    all: bool = False
    exec_id: str = ""


@value
class TaskUpdated(Payload):
    topic: ClassVar[str] = "/tasks/update"
    changed: dict[str, Any] = field(default_factory=dict)


@value
class NetworkConnected(Payload):
    """A task that is there was joined to a network. `addresses`: those it has in it."""

    topic: ClassVar[str] = "/networks/connect"
    network: str
    interface: str
    addresses: list[str] = field(default_factory=list)


@value
class NetworkDisconnected(Payload):
    topic: ClassVar[str] = "/networks/disconnect"
    network: str
    interface: str


@value
class TaskCheckpointed(Payload):
    """`image`: the directory it was written to. `left_running`: it goes on."""

    topic: ClassVar[str] = "/tasks/checkpointed"
    image: str
    left_running: bool = False


@value
class TaskRestored(Payload):
    """A task runs again that `image` holds."""

    topic: ClassVar[str] = "/tasks/restored"
    image: str
    pid: int
    duration_ns: int = 0


@value
class TaskAdopted(Payload):
    """A new shim took over a task whose shim had died."""

    topic: ClassVar[str] = "/tasks/adopt"
    pid: int


@value
class ExecAdded(Payload):
    topic: ClassVar[str] = "/tasks/exec-added"
    exec_id: str


@value
class ExecStarted(Payload):
    topic: ClassVar[str] = "/tasks/exec-started"
    exec_id: str
    pid: int
    args: list[str] = field(default_factory=list)


@value
class Failed(Payload):
    """A verb failed on this container; `error` is `MobyshellError.to_wire()`."""

    topic: ClassVar[str] = "/runtime/failed"
    verb: str
    error: dict[str, Any]


@value
class NamespaceCreated(Payload):
    topic: ClassVar[str] = "/namespaces/create"
    name: str
    labels: dict[str, str] = field(default_factory=dict)


@value
class NamespaceUpdated(Payload):
    topic: ClassVar[str] = "/namespaces/update"
    name: str
    labels: dict[str, str] = field(default_factory=dict)


@value
class NamespaceDeleted(Payload):
    topic: ClassVar[str] = "/namespaces/delete"
    name: str


@value
class ContentCreated(Payload):
    topic: ClassVar[str] = "/content/create"
    digest: str
    size: int


@value
class ContentDeleted(Payload):
    topic: ClassVar[str] = "/content/delete"
    digest: str


@value
class ImageCreated(Payload):
    topic: ClassVar[str] = "/images/create"
    name: str
    labels: dict[str, str] = field(default_factory=dict)


@value
class ImageUpdated(Payload):
    topic: ClassVar[str] = "/images/update"
    name: str
    labels: dict[str, str] = field(default_factory=dict)


@value
class ImageDeleted(Payload):
    topic: ClassVar[str] = "/images/delete"
    name: str


@value
class ContainerCreated(Payload):
    topic: ClassVar[str] = "/containers/create"
    id: str
    image: str
    runtime: str


@value
class ContainerUpdated(Payload):
    topic: ClassVar[str] = "/containers/update"
    id: str
    image: str
    labels: dict[str, str] = field(default_factory=dict)
    snapshot_key: str = ""


@value
class ContainerDeleted(Payload):
    topic: ClassVar[str] = "/containers/delete"
    id: str


@value
class SnapshotPrepared(Payload):
    """`view`: one that cannot be written."""

    topic: ClassVar[str] = "/snapshot/prepare"
    key: str
    parent: str
    snapshotter: str
    view: bool = False


@value
class SnapshotCommitted(Payload):
    topic: ClassVar[str] = "/snapshot/commit"
    key: str
    name: str
    snapshotter: str


@value
class SnapshotRemoved(Payload):
    topic: ClassVar[str] = "/snapshot/remove"
    key: str
    snapshotter: str


PAYLOADS: Mapping[str, type[Payload]] = {
    kind.topic: kind
    for kind in (
        CallDone, HookDone, TaskCreated, TaskStarted, TaskExited, TaskRestarting, TaskHealth,
        TaskDeleted, TaskOOM,
        TaskPaused, TaskResumed, TaskSignalled, TaskUpdated, TaskCheckpointed, TaskRestored,
        TaskAdopted, ExecAdded, ExecStarted, Failed, NamespaceCreated, NamespaceUpdated, NamespaceDeleted,
        ContentCreated, ContentDeleted, ImageCreated, ImageUpdated, ImageDeleted, ContainerCreated,
        ContainerUpdated, ContainerDeleted, SnapshotPrepared, SnapshotCommitted, SnapshotRemoved,
        NetworkConnected, NetworkDisconnected,
    )
}  # fmt: skip


@value
class Event:
    """A payload with its envelope: when (ns since the epoch), in which namespace, about which id."""

    time_ns: int
    namespace: str
    id: str
    payload: Payload

    @property
    def topic(self) -> str:
        return self.payload.topic

    def to_json(self) -> dict[str, Any]:
        """The event as one flat-envelope JSON object."""
        return {
            "time_ns": self.time_ns,
            "namespace": self.namespace,
            "topic": self.topic,
            "id": self.id,
            "data": as_dict(self.payload),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Event:
        """The event that `to_json` described. KeyError for a topic this version does not know."""
        kind = PAYLOADS[document["topic"]]
        return cls(
            document["time_ns"], document["namespace"], document["id"], kind(**document["data"])
        )


class EventSink(Protocol):
    """Takes payloads about one container; adds the envelope; must not raise and not block."""

    def __call__(self, id: str, payload: Payload, /) -> None: ...


def discard(id: str, payload: Payload, /) -> None:
    """The sink for callers who do not look."""
