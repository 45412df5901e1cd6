"""The rows of snapshots and trees: every SQL statement about them.

Called within a transaction of `Database`; knows nothing of files. A tree is there as long as a
snapshot of some namespace refers to it: who takes the last one away is told the tree's number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from mobyshell.core.errors import AlreadyExists, NotFound, WrongState
from mobyshell.core.store.labels import decode, encode
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots.protocol import Kind, Snapshot, Usage
from mobyshell.core.values import field, value


@value
class Place:
    """Whose rows, of which snapshotter."""

    scope: Scope
    snapshotter: str

    @property
    def namespace(self) -> str:
        """The scope's."""
        return self.scope.namespace

    @property
    def resource(self) -> str:
        """The type of a lease's resource, as containerd writes it."""
        return f"snapshots/{self.snapshotter}"


@value
class Tree:
    """A directory. See `schema`."""

    id: int
    chain_id: str = ""
    diff_id: str = ""
    opaque: bool = False
    usage: Usage = field(default_factory=Usage)


@value
class Row:
    """A snapshot and its tree."""

    id: int
    snapshot: Snapshot
    parent_id: int | None
    tree: Tree


_SELECT = """
    SELECT s.id, s.key, s.kind, s.parent, coalesce(p.key, ''), s.labels, s.created, s.updated,
           t.id, coalesce(t.chain_id, ''), coalesce(t.diff_id, ''), t.opaque,
           coalesce(t.size, 0), coalesce(t.inodes, 0)
    FROM snapshots s JOIN trees t ON t.id = s.tree LEFT JOIN snapshots p ON p.id = s.parent
"""


_KINDS = {str(one): one for one in Kind}


def _row(found: tuple[Any, ...]) -> Row:
    (id, key, kind, parent, parent_key, labels, created, updated,
     tree, chain, diff, opaque, size, inodes) = found  # fmt: skip
    snapshot = Snapshot(key, _KINDS[kind], parent_key, decode(labels), created, updated)
    return Row(id, snapshot, parent, Tree(tree, chain, diff, opaque == 1, Usage(size, inodes)))


def find(sql: sqlite3.Connection, place: Place, key: str) -> Row | None:
    """The snapshot `key`."""
    found = sql.execute(
        f"{_SELECT} WHERE s.namespace = ? AND s.snapshotter = ? AND s.key = ?",
        (place.namespace, place.snapshotter, key),
    ).fetchone()
    return _row(found) if found else None


def get(sql: sqlite3.Connection, place: Place, key: str) -> Row:
    """The snapshot `key`. NotFound says who else has one of that name."""
    found = find(sql, place, key)
    if found:
        return found
    others = sql.execute(
        "SELECT namespace, snapshotter FROM snapshots WHERE key = ? ORDER BY 1, 2 LIMIT 5", (key,)
    ).fetchall()
    elsewhere = ", ".join(f"namespace {one} ({snapshotter})" for one, snapshotter in others)
    raise NotFound(
        f"no snapshot {key!r} of {place.snapshotter} in namespace {place.namespace}",
        hint=f"it is in {elsewhere}"
        if elsewhere
        else "`mobyshell snapshot ls` lists those there are",
    )


def get_parent(sql: sqlite3.Connection, place: Place, name: str) -> Row:
    """A snapshot that may be a parent. WrongState if it is not committed."""
    found = get(sql, place, name)
    if found.snapshot.kind is not Kind.COMMITTED:
        raise WrongState(f"snapshot {name!r} is {found.snapshot.kind}: only a committed one can be "
                         "a parent")  # fmt: skip
    return found


def get_active(sql: sqlite3.Connection, place: Place, key: str) -> Row:
    """A snapshot that is being written. WrongState if it is something else."""
    found = get(sql, place, key)
    if found.snapshot.kind is not Kind.ACTIVE:
        raise WrongState(f"snapshot {key!r} is {found.snapshot.kind}, not active")
    return found


def must_be_free(sql: sqlite3.Connection, place: Place, key: str) -> None:
    """AlreadyExists if the key is taken."""
    found = find(sql, place, key)
    if found:
        raise taken(place, key, found.snapshot.kind)


def taken(place: Place, key: str, kind: str) -> AlreadyExists:
    """The error for a key that is there already."""
    return AlreadyExists(
        f"snapshot {key!r} of {place.snapshotter} exists in namespace {place.namespace} ({kind})"
    )


def parents(sql: sqlite3.Connection, row: Row) -> list[Tree]:
    """The trees below that of `row`, the nearest first, as far down as anything shows through."""
    if row.tree.opaque or row.parent_id is None:
        return []
    return lineage(sql, row.parent_id)


def lineage(sql: sqlite3.Connection, snapshot: int) -> list[Tree]:
    """The tree of a snapshot and those below it, the nearest first, down to an opaque one."""
    found = sql.execute(
        """
        WITH RECURSIVE up (depth, parent, tree) AS (
            SELECT 0, parent, tree FROM snapshots WHERE id = ?
            UNION ALL
            SELECT depth + 1, s.parent, s.tree FROM up JOIN snapshots s ON s.id = up.parent
        )
        SELECT t.id, t.opaque FROM up JOIN trees t ON t.id = up.tree ORDER BY depth
        """,
        (snapshot,),
    )
    trees = []
    for id, opaque in found:
        trees.append(Tree(int(id), opaque=bool(opaque)))
        if opaque:
            break
    return trees


def all_of(sql: sqlite3.Connection, place: Place) -> Iterator[Row]:
    """All snapshots, parents first, else the oldest first."""
    rows = [
        _row(one)
        for one in sql.execute(
            f"{_SELECT} WHERE s.namespace = ? AND s.snapshotter = ? ORDER BY s.id",
            (place.namespace, place.snapshotter),
        )
    ]
    known = {row.id: row for row in rows}
    done: set[int] = set()
    for row in rows:
        # a parent can be the younger one: what was prepared without one got it when committed
        way: list[Row] = []
        above: Row | None = row
        while above is not None and above.id not in done:
            way.append(above)
            above = known.get(above.parent_id) if above.parent_id is not None else None
        for one in reversed(way):
            done.add(one.id)
            yield one


def new_tree(sql: sqlite3.Connection, place: Place) -> int:
    """A row for a new tree; its number."""
    made = sql.execute("INSERT INTO trees (snapshotter) VALUES (?)", (place.snapshotter,))
    return int(made.lastrowid or 0)


def find_chain(sql: sqlite3.Connection, place: Place, chain_id: str) -> Tree | None:
    """The tree, of whatever namespace, that holds a chain of layers."""
    found = sql.execute(
        "SELECT id, chain_id, diff_id, opaque FROM trees WHERE snapshotter = ? AND chain_id = ?",
        (place.snapshotter, chain_id),
    ).fetchone()
    return Tree(int(found[0]), str(found[1]), str(found[2]), found[3] == 1) if found else None


def has_layer(sql: sqlite3.Connection, place: Place, diff_id: str) -> bool:
    """Whether the namespace has content that was found to unpack to this."""
    return bool(
        sql.execute(
            "SELECT EXISTS (SELECT 1 FROM blobs b JOIN content c ON c.digest = b.digest"
            " WHERE b.diff_id = ? AND c.namespace = ?)",
            (diff_id, place.namespace),
        ).fetchone()[0]
    )


def insert(
    sql: sqlite3.Connection, place: Place, key: str, kind: Kind, parent: Row | None, tree: int,
    labels: Mapping[str, str],
) -> None:  # fmt: skip
    """A new snapshot. Who makes it knows that the key is free."""
    place.scope.ensure_namespace(sql)
    now = place.scope.now()
    sql.execute(
        "INSERT INTO snapshots (namespace, snapshotter, key, kind, parent, tree, labels, created,"
        " updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (place.namespace, place.snapshotter, key, str(kind), parent.id if parent else None, tree,
         encode(labels), now, now),
    )  # fmt: skip
    place.scope.hold(sql, place.resource, key)


def make_committed(
    sql: sqlite3.Connection, place: Place, row: Row, name: str, labels: Mapping[str, str],
    parent: int | None,
) -> None:  # fmt: skip
    """An active snapshot becomes a committed one, also where leases hold it."""
    now = place.scope.now()
    sql.execute(
        "UPDATE snapshots SET kind = 'committed', key = ?, labels = ?, parent = ?, created = ?,"
        " updated = ? WHERE id = ?",
        (name, encode(labels), parent, now, now, row.id),
    )
    sql.execute(
        "UPDATE OR REPLACE lease_resources SET resource = ?"
        " WHERE namespace = ? AND type = ? AND resource = ?",
        (name, place.namespace, place.resource, row.snapshot.name),
    )


def describe_tree(sql: sqlite3.Connection, tree: Tree) -> None:
    """What is known of a tree that changes no more."""
    sql.execute(
        "UPDATE trees SET chain_id = ?, diff_id = ?, opaque = ?, size = ?, inodes = ? WHERE id = ?",
        (tree.chain_id or None, tree.diff_id or None, int(tree.opaque), tree.usage.size,
         tree.usage.inodes, tree.id),
    )  # fmt: skip


def exchange_tree(sql: sqlite3.Connection, row: Row, tree: int) -> int:
    """The snapshot shall have another tree, with the same files; the number of its own."""
    sql.execute("UPDATE snapshots SET tree = ? WHERE id = ?", (tree, row.id))
    sql.execute("DELETE FROM trees WHERE id = ?", (row.tree.id,))
    return row.tree.id


def set_labels(sql: sqlite3.Connection, place: Place, row: Row, labels: Mapping[str, str]) -> None:
    """Replace the labels."""
    sql.execute(
        "UPDATE snapshots SET labels = ?, updated = ? WHERE id = ?",
        (encode(labels), place.scope.now(), row.id),
    )


def delete(sql: sqlite3.Connection, place: Place, row: Row) -> int | None:
    """Take a snapshot away; the number of its tree, if nobody else has that. WrongState if it has
    children, who are named."""
    children = sql.execute(
        "SELECT key FROM snapshots WHERE parent = ? ORDER BY id LIMIT 4", (row.id,)
    ).fetchall()
    if children:
        names = ", ".join(repr(str(one[0])) for one in children[:3])
        raise WrongState(
            f"snapshot {row.snapshot.name!r} has children: {names}"
            f"{' and others' if len(children) > 3 else ''}",
            hint="remove them first",
        )
    sql.execute("DELETE FROM snapshots WHERE id = ?", (row.id,))
    sql.execute(
        "DELETE FROM lease_resources WHERE namespace = ? AND type = ? AND resource = ?",
        (place.namespace, place.resource, row.snapshot.name),
    )
    gone = sql.execute(
        "DELETE FROM trees WHERE id = ? AND NOT EXISTS (SELECT 1 FROM snapshots WHERE tree = ?)",
        (row.tree.id, row.tree.id),
    )
    return row.tree.id if gone.rowcount else None


def tree_ids(sql: sqlite3.Connection, snapshotter: str) -> set[int]:
    """The numbers of all trees, of all namespaces."""
    found = sql.execute("SELECT id FROM trees WHERE snapshotter = ?", (snapshotter,))
    return {int(one[0]) for one in found}
