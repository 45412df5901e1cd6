"""Leases: what must stay while somebody works with it, whatever refers to it or does not yet.

Owns the tables `leases` and `lease_resources`. Garbage collection keeps what a lease names, until
it expires or is removed. Everything that takes several steps (a pull, an unpack, a build) holds
one; a lease of this kind says which process holds it, and ends with that process.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import strptime

from mobyshell.core.clock import rfc3339
from mobyshell.core.errors import AlreadyExists, NotFound, UsageError
from mobyshell.core.linux.procfs import alive, boot_id, start_time
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.safejson import show
from mobyshell.core.store.filters import mapping_fields, parse_filters
from mobyshell.core.store.labels import GC_EXPIRE, decode, encode
from mobyshell.core.store.names import check_identifier, check_name
from mobyshell.core.store.scope import Scope
from mobyshell.core.values import field, value

HELD = 24 * 3600.0
"""Seconds until a held lease expires: for holders whose end nobody can see."""

HOLDER = "io.mobyshell/lease.holder"
"""`<boot>/<pid namespace>/<pid>/<start time>` of the process that holds the lease."""

_COLUMNS = "id, labels, created, expires"


@value
class Lease:
    """A lease. Times in seconds since the epoch; `expires` None for never."""

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    expires: float | None = None


@value
class Resource:
    """What a lease holds: `type` is `content`, `ingests` or `snapshots/<snapshotter>`; `id` the
    digest, reference or key."""

    type: str
    id: str

    def __lt__(self, other: Resource) -> bool:
        return (self.type, self.id) < (other.type, other.id)


class Leases:
    """The leases of one namespace."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def create(
        self, id: str = "", labels: Mapping[str, str] | None = None, expires: float | None = None
    ) -> Lease:
        """Make one. The label `containerd.io/gc.expire` says when it expires, or `expires`.

        Raises:
            AlreadyExists: the id is taken.
            UsageError: a label is none, or that one is no time.
        """
        scope, labels = self._scope, dict(labels or {})
        id = check_name(id or scope.clock.new_id(), "lease")
        if GC_EXPIRE in labels:
            expires = parse_time(labels[GC_EXPIRE])
        elif expires is not None:
            labels[GC_EXPIRE] = rfc3339(round(expires * 1e6) * 1000)  # no float has nanoseconds
        with scope.write() as sql:
            scope.ensure_namespace(sql)
            made = sql.execute(
                f"INSERT OR IGNORE INTO leases (namespace, {_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
                (scope.namespace, id, encode(labels), scope.now(), expires),
            )
            if not made.rowcount:
                raise AlreadyExists(f"lease {show(id)} is in namespace {scope.namespace} already")
            return self._get(sql, id)

    def get(self, id: str) -> Lease:
        """One. NotFound."""
        with self._scope.database.read() as sql:
            return self._get(sql, id)

    def list(self, *filters: str) -> list[Lease]:
        """All, or those that match any of the filters, by id. Fields: id, labels."""
        chosen = parse_filters(filters)
        with self._scope.database.read() as sql:
            rows = sql.execute(f"SELECT {_COLUMNS} FROM leases WHERE namespace = ? ORDER BY id",
                               (self._scope.namespace,)).fetchall()  # fmt: skip
        found = [Lease(row[0], decode(row[1]), row[2], row[3]) for row in rows]
        return [
            one for one in found
            if chosen.matches(mapping_fields({"id": one.id}, labels=one.labels))
        ]  # fmt: skip

    def delete(self, id: str) -> None:
        """Let go of what it holds. NotFound."""
        self._delete(id, durable=True)

    def _delete(self, id: str, durable: bool) -> None:
        with self._scope.database.write(frees=True, durable=durable) as sql:
            self._get(sql, id)
            sql.execute("DELETE FROM leases WHERE namespace = ? AND id = ?",
                        (self._scope.namespace, id))  # fmt: skip

    def add(self, id: str, resource: Resource) -> None:
        """Hold this too, whether it is there yet or not. NotFound; UsageError."""
        _check(resource)
        with self._scope.write() as sql:
            self._get(sql, id)
            self._scope.under(id).hold(sql, resource.type, resource.id)

    def remove(self, id: str, resource: Resource) -> None:
        """Hold this no more. NotFound if it does not, or is not there."""
        with self._scope.database.write(frees=True) as sql:
            self._get(sql, id)
            gone = sql.execute(
                "DELETE FROM lease_resources WHERE namespace = ? AND lease = ? AND type = ?"
                " AND resource = ?",
                (self._scope.namespace, id, resource.type, resource.id),
            )
            if not gone.rowcount:
                raise NotFound(f"lease {show(id)} does not hold {resource.type} {resource.id}")

    def resources(self, id: str) -> Sequence[Resource]:
        """What it holds. NotFound."""
        with self._scope.database.read() as sql:
            self._get(sql, id)
            rows = sql.execute(
                "SELECT type, resource FROM lease_resources WHERE namespace = ? AND lease = ?"
                " ORDER BY type, resource",
                (self._scope.namespace, id),
            ).fetchall()
        return [Resource(*row) for row in rows]

    @contextmanager
    def hold(self, labels: Mapping[str, str] | None = None) -> Iterator[Lease]:
        """Have a lease while something is done. It ends with the block, with this process, or
        after `HELD` seconds where the process cannot be seen, as in another pid namespace."""
        named = {**(labels or {}), HOLDER: own_holder()}
        # a power cut that loses its row has lost what it held, too; one that brings it back has
        # ended its holder
        own = Leases(self._scope.relaxed())
        lease = own.create(labels=named, expires=self._scope.now() + HELD)
        try:
            yield lease
        finally:
            try:
                own._delete(lease.id, durable=False)
            except NotFound:
                pass  # removed by hand

    def _get(self, sql: sqlite3.Connection, id: str) -> Lease:
        row = sql.execute(f"SELECT {_COLUMNS} FROM leases WHERE namespace = ? AND id = ?",
                          (self._scope.namespace, id)).fetchone()  # fmt: skip
        if row is None:
            others = sql.execute("SELECT namespace FROM leases WHERE id = ?", (id,)).fetchall()
            raise self._scope.missing("lease", show(id), [one for (one,) in others])
        return Lease(row[0], decode(row[1]), row[2], row[3])


def own_holder() -> str:
    """The value of the label `HOLDER` for this process."""
    pid = os.getpid()
    return f"{_here()}/{pid}/{start_time(pid)}"


def holder_lives(value: str) -> bool | None:
    """Whether the process of a label `HOLDER` is there; None if that cannot be seen from here."""
    boot, pid_namespace, pid, start = (value.split("/") + [""] * 4)[:4]
    here = _here()
    if not pid.isdecimal() or not start.isdecimal():
        return None
    if f"{boot}/{pid_namespace}" == here:
        return alive(int(pid), int(start))
    # no process outlives its boot
    return None if here.startswith(f"{boot}/") else False


def _here() -> str:
    return f"{boot_id()}/{os.stat('/proc/self/ns/pid').st_ino}"


def parse_time(text: str) -> float:
    """RFC 3339 as seconds since the epoch. UsageError."""
    from calendar import timegm  # and with it `locale`: few leases say when they end

    stamp, point, rest = text.partition(".")
    zone = rest.lstrip("0123456789")
    fraction = rest[: len(rest) - len(zone)]
    if not point:
        stamp, zone = text[:19], text[19:]
    try:
        seconds = float(timegm(strptime(stamp, "%Y-%m-%dT%H:%M:%S")))
        return seconds + float(f"0.{fraction or 0}") - _offset(zone)
    except ValueError:
        raise UsageError(
            f"not a time: {show(text)}", hint="RFC 3339, such as 2026-01-31T12:00:00Z"
        ) from None


def _offset(zone: str) -> int:
    if zone in ("Z", "z"):
        return 0
    if len(zone) != 6 or zone[0] not in "+-" or zone[3] != ":":
        raise ValueError(zone)
    seconds = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
    return seconds if zone[0] == "+" else -seconds


def _check(resource: Resource) -> None:
    kind, slash, snapshotter = resource.type.partition("/")
    if kind == "content" and not slash:
        Digest(resource.id)
    elif kind == "snapshots" and slash:
        check_identifier(snapshotter, "snapshotter")
    elif resource.type != "ingests":
        raise UsageError(f"a lease cannot hold {show(resource.type)}",
                         hint="content, ingests, snapshots/<snapshotter>")  # fmt: skip
    check_name(resource.id, resource.type)
