"""A snapshotter whose trees are directories: the rules of `protocol`, for any `driver.Driver`.

What happens to files and to rows has an order, so that a crash between any two steps leaves at
worst files without a row, which `cleanup` removes:

    prepare   directory filled → numbered → on the disk → row
    commit    files on the disk (syncfs(2)) → row
    remove    row → files
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from mobyshell.core.errors import SyscallFailed, WrongState
from mobyshell.core.events import SnapshotCommitted, SnapshotPrepared, SnapshotRemoved
from mobyshell.core.linux.files import sync_filesystem
from mobyshell.core.meanwhile import Meanwhile
from mobyshell.core.oci.labels import check_labels
from mobyshell.core.store import identity
from mobyshell.core.store.labels import changed
from mobyshell.core.store.names import check_name
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots import rows, trees
from mobyshell.core.store.snapshots.directories import Directories
from mobyshell.core.store.snapshots.driver import FILES, Driver
from mobyshell.core.store.snapshots.idmaps import IdMaps
from mobyshell.core.store.snapshots.protocol import (
    INHERITED,
    REF,
    Form,
    Kind,
    Layer,
    LayerTarget,
    Mount,
    Snapshot,
    Usage,
)


class TreeSnapshotter:
    """A `protocol.Snapshotter`, of one namespace."""

    def __init__(
        self, scope: Scope, driver: Driver, *, remove: Callable[[Path], Usage] | None = None
    ) -> None:
        """`remove`: what removes a tree's directory, where its owners have to (`inside`)."""
        self._scope, self._driver = scope, driver
        self._database = scope.database
        self._place = rows.Place(scope, driver.name)
        place = Path(os.path.abspath(scope.root.snapshots)) / driver.name
        self._directories = Directories(place, remove)
        self._note = remove is not None

    @property
    def name(self) -> str:
        return self._driver.name

    @property
    def rebases(self) -> bool:
        return self._driver.rebases

    def stat(self, key: str) -> Snapshot:
        with self._database.read() as sql:
            return rows.get(sql, self._place, key).snapshot

    def claim(self, key: str) -> Snapshot:
        with self._scope.write() as sql:
            found = rows.get(sql, self._place, key).snapshot
            self._scope.hold(sql, self._place.resource, key)
            return found

    def update(self, key: str, labels: Mapping[str, str | None]) -> Snapshot:
        with self._scope.write() as sql:
            row = rows.get(sql, self._place, key)
            rows.set_labels(sql, self._place, row, changed(row.snapshot.labels, labels))
            return rows.get(sql, self._place, key).snapshot

    def usage(self, key: str) -> Usage:
        with self._database.read() as sql:
            row = rows.get(sql, self._place, key)
            parents = rows.parents(sql, row)
        if row.snapshot.kind is Kind.COMMITTED:
            return row.tree.usage
        if row.snapshot.kind is Kind.VIEW:
            parents = []  # whatever it shows is theirs
        with _translated(self._directories.of(row.tree.id)):
            return self._driver.measure(self._directories.of(row.tree.id), self._paths(parents))

    def mounts(self, key: str) -> Sequence[Mount]:
        with self._database.read() as sql:
            row = rows.get(sql, self._place, key)
            parents = rows.parents(sql, row)
        if row.snapshot.kind is Kind.COMMITTED:
            raise WrongState(f"snapshot {key!r} is committed, which has no mounts",
                             hint="prepare or view one whose parent it is")  # fmt: skip
        return self._mounts(row.tree.id, row.snapshot.kind, parents, row.snapshot.labels)

    def prepare(
        self, key: str, parent: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[Mount]:
        labels = labels or {}
        ref = labels.get(REF, "")
        if ref:
            with self._database.read() as sql:
                found = rows.find(sql, self._place, ref)
            if found or self.adopt(ref, parent, labels):
                raise rows.taken(self._place, ref, Kind.COMMITTED)
        return self._make(key, parent, Kind.ACTIVE, labels)

    def view(
        self, key: str, parent: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[Mount]:
        return self._make(key, parent, Kind.VIEW, labels or {})

    def layer_target(self, key: str) -> LayerTarget:
        with self._database.read() as sql:
            row = rows.get_active(sql, self._place, key)
            parents = rows.parents(sql, row)
        return self._target(row.tree.id, parents)

    def directories(self, key: str) -> LayerTarget:
        with self._database.read() as sql:
            row = rows.get(sql, self._place, key)
            parents = rows.parents(sql, row)
        if row.snapshot.kind is Kind.VIEW and parents:
            return self._target(parents[0].id, parents[1:])
        return self._target(row.tree.id, parents)

    def commit(
        self, name: str, key: str, labels: Mapping[str, str] | None = None, *,
        parent: str = "", layer: Layer | None = None,
    ) -> None:  # fmt: skip
        check_name(name, "name of a snapshot")
        check_labels(labels or {})
        with self._database.read() as sql:
            row, above = self._committable(sql, name, key, parent)
            below = rows.lineage(sql, above.id) if above else []
        place = self._directories.of(row.tree.id)
        with _translated(place), _synced(place):
            usage = self._driver.measure(place, self._paths(below))
        kept = {one: value for one, value in row.snapshot.labels.items()
                if one.startswith(INHERITED)}  # fmt: skip
        with self._scope.write() as sql:
            row, above = self._committable(sql, name, key, parent)
            chain = _chain(above, layer)
            tree = rows.Tree(row.tree.id, chain, layer.diff_id if layer and chain else "",
                             layer.opaque_root if layer else False, usage)  # fmt: skip
            same = rows.find_chain(sql, self._place, chain) if chain else None
            rows.make_committed(
                sql, self._place, row, name, {**kept, **(labels or {})}, above.id if above else None
            )
            discarded = rows.exchange_tree(sql, row, same.id) if same else None
            if discarded is None:
                rows.describe_tree(sql, tree)
            self._scope.record(sql, name, SnapshotCommitted(key, name, self.name))
            if discarded is not None:
                self._discard(discarded)
            else:
                # it does no harm to who was not committed after all
                self._database.afterwards(lambda: self._driver.settle(place), sure=False)

    def adopt(self, name: str, parent: str = "", labels: Mapping[str, str] | None = None) -> bool:
        check_labels(labels or {})
        with self._scope.write() as sql:
            tree = rows.find_chain(sql, self._place, name)
            above = rows.get_parent(sql, self._place, parent) if parent else None
            if tree is None or not rows.has_layer(sql, self._place, tree.diff_id):
                return False
            # that it has the layers below, it proved with the parent
            if _chain(above, Layer(tree.diff_id)) != name:
                return False
            rows.must_be_free(sql, self._place, name)
            rows.insert(sql, self._place, name, Kind.COMMITTED, above, tree.id, labels or {})
            self._scope.record(sql, name, SnapshotCommitted(name, name, self.name))
        return True

    def remove(self, key: str) -> None:
        with self._scope.free() as sql:
            row = rows.get(sql, self._place, key)
            gone = rows.delete(sql, self._place, row)
            self._scope.record(sql, key, SnapshotRemoved(key, self.name))
            if gone is not None:
                self._discard(gone)

    def walk(self, *filters: str) -> Iterator[Snapshot]:
        wanted = _wanted(filters)
        with self._database.read() as sql:
            found = [row.snapshot for row in rows.all_of(sql, self._place)]
        return (one for one in found if wanted(one))

    def cleanup(self) -> Usage:
        if not identity.owns(self._scope.root, self._database):
            return Usage()
        with self._database.write(frees=True) as sql:
            garbage = self._directories.clean(rows.tree_ids(sql, self.name))
        freed = Usage()
        for path in garbage:
            freed += self._directories.remove(path)
        return freed

    def close(self) -> None:
        """Nothing is held: the database is the scope's."""

    def _make(
        self, key: str, parent: str, kind: Kind, labels: Mapping[str, str]
    ) -> Sequence[Mount]:
        check_name(key, "key of a snapshot")
        check_labels(labels)
        maps = IdMaps.of_labels(labels)
        with self._database.read() as sql:
            below = self._below(sql, key, parent)
        if not self._directories.path.exists():
            self._driver.check(self._directories.path)  # better now than when somebody mounts it
        with self._directories.new() as new:
            try:
                if self._note:
                    from mobyshell.core.store import owners  # of no use to root

                    owners.note(self._scope.root)
                self._driver.make(new, kind, self._paths(below), maps)
            except OSError as error:
                with self._database.read() as sql:
                    self._below(sql, key, parent)  # was the parent removed meanwhile?
                raise _failed(error, new) from error
            with self._scope.write() as sql:
                below = self._below(sql, key, parent)
                above = rows.get_parent(sql, self._place, parent) if parent else None
                tree = rows.new_tree(sql, self._place)
                rows.insert(sql, self._place, key, kind, above, tree, labels)
                self._scope.record(sql, key, SnapshotPrepared(
                    key, parent, self.name, view=kind is Kind.VIEW))  # fmt: skip
                self._directories.number(new, tree)
                if not self._scope.passing:
                    self._database.beforehand(self._directories.sync)
        return self._mounts(tree, kind, below, labels)

    def _discard(self, tree: int) -> None:
        """Remove the files of a tree, once it is sure that its row is gone."""
        self._database.afterwards(
            lambda: self._directories.discard(tree), sure=not self._scope.passing
        )

    def _below(self, sql: sqlite3.Connection, key: str, parent: str) -> list[rows.Tree]:
        """The trees below a new snapshot. AlreadyExists if there is one of that key."""
        rows.must_be_free(sql, self._place, key)
        return rows.lineage(sql, rows.get_parent(sql, self._place, parent).id) if parent else []

    def _committable(
        self, sql: sqlite3.Connection, name: str, key: str, parent: str
    ) -> tuple[rows.Row, rows.Row | None]:
        """What is to be committed, and its parent. The errors of `commit`."""
        row = rows.get_active(sql, self._place, key)
        if IdMaps.of_labels(row.snapshot.labels):
            # it would be mapped once more in its children
            raise WrongState(f"snapshot {key!r} has mapped ids: its files are not root's but another's",
                             hint="make a layer of it, `snapshot diff -o`, and unpack that")  # fmt: skip
        if name != key:
            rows.must_be_free(sql, self._place, name)
        own = row.snapshot.parent
        if parent and own and parent != own:
            raise WrongState(f"snapshot {key!r} has a parent, {own!r}, and cannot get another")
        if parent and not own and not self.rebases:
            raise WrongState(f"{self.name} gives no parent to what was prepared without one",
                             hint="prepare it with its parent")  # fmt: skip
        above = parent or own
        return row, rows.get_parent(sql, self._place, above) if above else None

    def _paths(self, below: Sequence[rows.Tree]) -> list[Path]:
        return [self._directories.of(one.id) for one in below]

    def _mounts(
        self, tree: int, kind: Kind, below: Sequence[rows.Tree], labels: Mapping[str, str]
    ) -> Sequence[Mount]:
        maps = IdMaps.of_labels(labels)
        return self._driver.mounts(self._directories.of(tree), kind, self._paths(below), maps)

    def _target(self, tree: int, below: Sequence[rows.Tree]) -> LayerTarget:
        own = self._directories.of(tree) / FILES
        if self._driver.form is Form.FLAT:
            return LayerTarget(own, Form.FLAT)
        return LayerTarget(own, self._driver.form, tuple(one / FILES for one in self._paths(below)))


def _chain(parent: rows.Row | None, layer: Layer | None) -> str:
    """The chain id of a layer upon a parent (image-spec config.md#layer-chainid); "" if what the
    parent holds is nobody's layers."""
    if layer is None:
        return ""
    if parent is None:
        return layer.diff_id
    if not parent.tree.chain_id:
        return ""
    return f"sha256:{sha256(f'{parent.tree.chain_id} {layer.diff_id}'.encode()).hexdigest()}"


def _wanted(filters: Sequence[str]) -> Callable[[Snapshot], bool]:
    """What the filters say, by containerd's names of fields."""
    if not filters:
        return lambda _: True
    # loaded by who has filters
    from mobyshell.core.store.filters import mapping_fields, parse_filters

    chosen = parse_filters(filters)

    def matches(one: Snapshot) -> bool:
        values = {"name": one.name, "kind": str(one.kind), "parent": one.parent}
        return chosen.matches(mapping_fields(values, labels=one.labels))

    return matches


@contextmanager
def _synced(place: Path) -> Iterator[None]:
    """At the end all is on the disk. That is waited for in a thread: the block can do something."""
    fd = os.open(place, trees.DIRECTORY)
    try:
        with Meanwhile(lambda: sync_filesystem(fd, path=str(place)), "sync"):
            yield
    finally:
        os.close(fd)


@contextmanager
def _translated(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failed(error, place) from error


def _failed(error: OSError, place: Path) -> SyscallFailed:
    hint = "make room, or collect garbage" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    path = str(error.filename) if error.filename else str(place)
    return SyscallFailed("open" if error.errno == errno.ENOENT else "write", error.errno or 0,
                         path=path, what="the tree of a snapshot", hint=hint)  # fmt: skip
