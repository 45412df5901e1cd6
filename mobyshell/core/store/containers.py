"""Containers: what is to run, in a namespace: a spec, an image's name, a snapshot, a runtime.

Owns the table `containers`. A container is only described here; alive, it is a task (`core/tasks`).
It keeps its snapshot from garbage collection, and not its image: that may be replaced meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any, TypeAlias

from mobyshell.core.errors import AlreadyExists, WrongState
from mobyshell.core.events import ContainerCreated, ContainerDeleted, ContainerUpdated
from mobyshell.core.oci.safejson import read_json
from mobyshell.core.store.filters import Fields, mapping_fields, parse_filters
from mobyshell.core.store.labels import changed, decode, encode
from mobyshell.core.store.names import check_identifier
from mobyshell.core.store.scope import Scope
from mobyshell.core.values import field, value

_Row: TypeAlias = tuple[str, str, str, str, str, str, str, float, float]
_COLUMNS = "id, image, runtime, snapshotter, snapshot_key, labels, extensions, created, updated"


@value
class Container:
    """A container but for its spec, which is large and has a way of its own (`Containers.spec`).

    `runtime`: the name or path of an OCI runtime, "" for ours; `runtime_options` and `extensions`
    are JSON. `snapshotter` and `snapshot_key` name the snapshot that is its rootfs, if it has one.
    Times in seconds since the epoch.
    """

    id: str
    image: str = ""
    runtime: str = ""
    runtime_options: Mapping[str, Any] = field(default_factory=dict)
    snapshotter: str = ""
    snapshot_key: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0


class Containers:
    """The containers of one namespace. NotFound names the other namespaces that have one."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def create(self, container: Container, spec: Mapping[str, Any]) -> Container:
        """Describe one; its times are set here. AlreadyExists; UsageError for what cannot be an
        id."""
        scope, now = self._scope, self._scope.now()
        check_identifier(container.id, "container")
        with scope.write() as sql:
            scope.ensure_namespace(sql)
            made = sql.execute(
                f"INSERT OR IGNORE INTO containers (namespace, {_COLUMNS}, spec)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (scope.namespace, *_columns(container), now, now, _json(spec)),
            )
            if not made.rowcount:
                raise AlreadyExists(
                    f"container {container.id} is in namespace {scope.namespace} already"
                )
            scope.record(sql, container.id,
                         ContainerCreated(container.id, container.image, container.runtime))  # fmt: skip
            return self._get(sql, container.id)

    def get(self, id: str) -> Container:
        """The container of this id."""
        with self._scope.database.read() as sql:
            return self._get(sql, id)

    def spec(self, id: str) -> dict[str, Any]:
        """Its config.json."""
        found: dict[str, Any] = read_json(self.spec_text(id), f"the spec of container {id}")
        return found

    def spec_text(self, id: str) -> str:
        """Its config.json, as it stands. NotFound."""
        with self._scope.database.read() as sql:
            self._get(sql, id)
            (text,) = sql.execute("SELECT spec FROM containers WHERE namespace = ? AND id = ?",
                                  (self._scope.namespace, id)).fetchone()  # fmt: skip
        return str(text)

    def list(self, *filters: str) -> list[Container]:
        """All, or those that match any of the filters, by id.

        Fields: id, image, runtime.name, snapshotter, snapshotkey, labels.
        """
        chosen = parse_filters(filters)
        with self._scope.database.read() as sql:
            rows = sql.execute(
                f"SELECT {_COLUMNS} FROM containers WHERE namespace = ? ORDER BY id",
                (self._scope.namespace,),
            ).fetchall()
        found = map(_read, rows)
        return [one for one in found if not filters or chosen.matches(_fields(one))]

    def update(
        self, id: str, *, labels: Mapping[str, str | None] | None = None,
        image: str | None = None, snapshot_key: str | None = None,
        extensions: Mapping[str, Any] | None = None, spec: Mapping[str, Any] | None = None,
    ) -> Container:  # fmt: skip
        """Change what is given: labels singly (None takes one away), the others as a whole.

        Runtime and snapshotter stay (containerd's rule). WrongState for a snapshot where there is
        no snapshotter.
        """
        scope = self._scope
        with scope.write() as sql:
            before = self._get(sql, id)
            if snapshot_key and not before.snapshotter:
                raise WrongState(f"container {id} has no snapshotter")
            merged = changed(before.labels, labels or {})
            changes: dict[str, str | float] = {"labels": encode(merged), "updated": scope.now()}
            if image is not None:
                changes["image"] = image
            if snapshot_key is not None:
                changes["snapshot_key"] = snapshot_key
            if extensions is not None:
                changes["extensions"] = _json(extensions)
            if spec is not None:
                changes["spec"] = _json(spec)
            sets = ", ".join(f"{name} = ?" for name in changes)
            sql.execute(f"UPDATE containers SET {sets} WHERE namespace = ? AND id = ?",
                        (*changes.values(), scope.namespace, id))  # fmt: skip
            now = self._get(sql, id)
            scope.record(sql, id, ContainerUpdated(id, now.image, merged, now.snapshot_key))
            return now

    def delete(self, id: str) -> None:
        """Forget one. Its snapshot goes with the next garbage collection, or with its maker."""
        with self._scope.free() as sql:
            self._get(sql, id)
            sql.execute("DELETE FROM containers WHERE namespace = ? AND id = ?",
                        (self._scope.namespace, id))  # fmt: skip
            self._scope.record(sql, id, ContainerDeleted(id))

    def _get(self, sql: sqlite3.Connection, id: str) -> Container:
        row = sql.execute(f"SELECT {_COLUMNS} FROM containers WHERE namespace = ? AND id = ?",
                          (self._scope.namespace, id)).fetchone()  # fmt: skip
        if row is None:
            others = sql.execute("SELECT namespace FROM containers WHERE id = ?", (id,)).fetchall()
            raise self._scope.missing("container", id, [one for (one,) in others])
        return _read(row)


def _json(one: Mapping[str, Any]) -> str:
    return json.dumps(one, ensure_ascii=False, separators=(",", ":"))


_OURS = _json({"name": "", "options": {}})


def _columns(one: Container) -> tuple[str, ...]:
    runtime = _json({"name": one.runtime, "options": one.runtime_options})
    return (one.id, one.image, runtime, one.snapshotter, one.snapshot_key, encode(one.labels),
            _json(one.extensions))  # fmt: skip


def _read(row: _Row) -> Container:
    id, image, runtime, snapshotter, key, labels, extensions, created, updated = row
    parsed = {} if runtime == _OURS else json.loads(runtime)
    return Container(
        id, image, parsed.get("name", ""), parsed.get("options", {}), snapshotter, key,
        decode(labels), {} if extensions == "{}" else json.loads(extensions), created, updated,
    )  # fmt: skip


def _fields(one: Container) -> Fields:
    plain = {"id": one.id, "image": one.image, "runtime.name": one.runtime,
             "snapshotter": one.snapshotter, "snapshotkey": one.snapshot_key}  # fmt: skip
    return mapping_fields(plain, labels=one.labels)
