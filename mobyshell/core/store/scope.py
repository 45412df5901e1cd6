"""Whose eyes and hands: a store, a namespace of it, and the lease under which something is done.

Owns what every part of the store does in the transaction of a change: that the namespace is
there, that the lease holds what was made, and that the event is recorded. So there is no moment
at which garbage collection could see the one without the other.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager

from mobyshell.core.clock import Clock, SystemClock
from mobyshell.core.errors import NotFound
from mobyshell.core.events import NamespaceCreated, Payload
from mobyshell.core.store import events
from mobyshell.core.store.database import Database
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.values import field, replace, value


@value
class Scope:
    """Where the parts of a namespace are at work. `lease` "" means without one: what is made then
    is kept only by what refers to it. Not `durable`: what is done are steps on the way to something
    that is (`Database.write`). `passing`: what is made and removed is of this boot: a power cut may bring
    its rows back, or leave them without their files, as garbage collection knows them then
    (`labels.BOOT`)."""

    root: StoreRoot
    database: Database
    namespace: str
    lease: str = ""
    clock: Clock = field(default_factory=SystemClock)
    durable: bool = True
    passing: bool = False

    def under(self, lease: str) -> Scope:
        """The same, with everything that is made held by `lease`."""
        return replace(self, lease=lease)

    def relaxed(self) -> Scope:
        """The same, for steps on the way to something durable."""
        return replace(self, durable=False)

    def of_this_boot(self) -> Scope:
        """The same, for what nobody wants after the next."""
        return replace(self, durable=False, passing=True)

    def write(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that changes something. What frees room or files is begun by `free`."""
        return self.database.write(durable=self.durable)

    def free(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that frees room or files: durable, but for what is passing."""
        return self.database.write(frees=True, durable=not self.passing)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.clock.now_ns() / 1e9

    def ensure_namespace(self, sql: sqlite3.Connection) -> None:
        """Make the namespace, if nothing has been in it before (as containerd does)."""
        made = sql.execute(
            "INSERT OR IGNORE INTO namespaces (name, created) VALUES (?, ?)",
            (self.namespace, self.now()),
        )
        if made.rowcount:
            self.record(sql, self.namespace, NamespaceCreated(self.namespace))

    def record(self, sql: sqlite3.Connection, id: str, payload: Payload) -> None:
        """Tell what has happened to `id`: with the transaction, or not at all."""
        events.record(sql, self.clock.now_ns(), self.namespace, id, payload)

    def hold(self, sql: sqlite3.Connection, type: str, resource: str) -> None:
        """Let the lease, if there is one, keep `resource`. `type` is `content`, `ingests` or
        `snapshots/<snapshotter>`. NotFound if the lease is gone: what it held may be as well."""
        if not self.lease:
            return
        try:
            sql.execute(
                "INSERT OR IGNORE INTO lease_resources (namespace, lease, type, resource)"
                " VALUES (?, ?, ?, ?)",
                (self.namespace, self.lease, type, resource),
            )
        except sqlite3.IntegrityError:
            raise NotFound(
                f"no lease {self.lease} in namespace {self.namespace}",
                hint="it has expired or was removed while it was used",
            ) from None

    def missing(self, what: str, name: str, others: list[str]) -> NotFound:
        """The error for what is not in this namespace; `others` are the namespaces that have it."""
        listed = what in ("image", "container", "lease", "snapshot")
        hint = f"`mobyshell {what} ls` lists those there are" if listed else ""
        if others:
            several = "namespaces" if len(others) > 1 else "namespace"
            shown = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
            hint = f"it is in {several} {shown}: --namespace {others[0]}"
        return NotFound(f"no {what} {name} in namespace {self.namespace}", hint=hint)
