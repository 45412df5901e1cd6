"""The graph of a store: rows and labels as objects and references, by containerd's rules.

Roots: images and leases that have not expired, containers (but those that were for an earlier boot
alone), what has the label `containerd.io/gc.root`, what was just written without a lease, ingests that
are young.

References by nature: an image's target, a container's snapshot, a snapshot's parent, what a lease
names. By label: `containerd.io/gc.ref.content[.x]`, `….gc.ref.snapshot.<snapshotter>[/x]`, and
backwards `….gc.bref.{content,image,container,snapshot.<snapshotter>}[.x]`. They hold within a
namespace, as in containerd.

Only reads, in the transaction it is given.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from mobyshell.core.errors import UsageError
from mobyshell.core.linux.procfs import boot_id
from mobyshell.core.store.gc.graph import (
    CONTAINER,
    CONTENT,
    IMAGE,
    INGEST,
    LEASE,
    SNAPSHOT,
    Graph,
    Node,
    Step,
)
from mobyshell.core.store.labels import (
    BOOT,
    GC_BREF,
    GC_EXPIRE,
    GC_FLAT,
    GC_REF_CONTENT,
    GC_REF_SNAPSHOT,
    GC_ROOT,
    decode,
    references,
)
from mobyshell.core.store.leases import HOLDER, holder_lives, parse_time

YOUNG = 24 * 3600.0
"""Seconds for which an ingest that nobody writes is kept for who may go on with it."""


def gather(sql: sqlite3.Connection, now: float) -> Graph:
    """Everything of all namespaces, as of `now` (seconds since the epoch)."""
    graph = Graph()
    _content(sql, graph, now)
    _snapshots(sql, graph)
    _images(sql, graph, now)
    _containers(sql, graph)
    _ingests(sql, graph, now)
    _leases(sql, graph, now)
    return graph


def _content(sql: sqlite3.Connection, graph: Graph, now: float) -> None:
    rows = sql.execute(
        "SELECT namespace, content.digest, size, labels, fresh FROM content"
        " JOIN blobs ON blobs.digest = content.digest"
    )
    for namespace, digest, size, column, fresh in rows:
        node = Node(namespace, CONTENT, digest)
        graph.nodes[node] = size
        labels = decode(column)
        _labelled(graph, node, labels)
        if GC_ROOT in labels:
            graph.roots[node] = f"it has the label {GC_ROOT}"
        elif fresh is not None and fresh > now:
            graph.roots[node] = "it was just written, without a lease"


def _snapshots(sql: sqlite3.Connection, graph: Graph) -> None:
    rows = sql.execute(
        "SELECT one.namespace, one.snapshotter, one.key, one.labels, parent.key, trees.size"
        " FROM snapshots AS one JOIN trees ON trees.id = one.tree"
        " LEFT JOIN snapshots AS parent ON parent.id = one.parent"
    )
    for namespace, snapshotter, key, column, parent, size in rows:
        kind = f"{SNAPSHOT}/{snapshotter}"
        node = Node(namespace, kind, key)
        graph.nodes[node] = size or 0
        labels = decode(column)
        _labelled(graph, node, labels)
        if parent is not None:
            graph.refer(node, Node(namespace, kind, parent), "parent", by_nature=True)
        if GC_ROOT in labels:
            graph.roots[node] = f"it has the label {GC_ROOT}"


def _images(sql: sqlite3.Connection, graph: Graph, now: float) -> None:
    for namespace, name, digest, column in sql.execute(
        "SELECT namespace, name, digest, labels FROM images"
    ):
        node = Node(namespace, IMAGE, name)
        graph.nodes[node] = 0
        labels = decode(column)
        graph.refer(node, Node(namespace, CONTENT, digest), "target", by_nature=True)
        _labelled(graph, node, labels)
        if not _expired(labels, now):
            graph.roots[node] = "images are kept"


def _containers(sql: sqlite3.Connection, graph: Graph) -> None:
    here = boot_id()
    for namespace, id, snapshotter, key, column in sql.execute(
        "SELECT namespace, id, snapshotter, snapshot_key, labels FROM containers"
    ):
        node = Node(namespace, CONTAINER, id)
        graph.nodes[node] = 0
        labels = decode(column)
        if labels.get(BOOT, here) == here:
            graph.roots[node] = "containers are kept"
        if snapshotter and key:
            target = Node(namespace, f"{SNAPSHOT}/{snapshotter}", key)
            graph.refer(node, target, "snapshot", by_nature=True)
        _labelled(graph, node, labels)


def _ingests(sql: sqlite3.Connection, graph: Graph, now: float) -> None:
    for namespace, ref, updated in sql.execute("SELECT namespace, ref, updated FROM ingests"):
        node = Node(namespace, INGEST, ref)
        graph.nodes[node] = 0
        if updated + YOUNG > now:
            graph.roots[node] = "it is less than a day old"


def _leases(sql: sqlite3.Connection, graph: Graph, now: float) -> None:
    flat = set()
    for namespace, id, column, expires in sql.execute(
        "SELECT namespace, id, labels, expires FROM leases"
    ):
        node = Node(namespace, LEASE, id)
        graph.nodes[node] = 0
        labels = decode(column)
        why = lease_holds(labels, expires, now)
        if why:
            graph.roots[node] = why
            if GC_FLAT in labels:
                flat.add(node)
    for namespace, lease, type, resource in sql.execute(
        "SELECT namespace, lease, type, resource FROM lease_resources"
    ):
        holder = Node(namespace, LEASE, lease)
        kind, _, snapshotter = type.partition("/")
        target = Node(namespace, _KINDS.get(kind, f"{SNAPSHOT}/{snapshotter}"), resource)
        if holder in flat:
            graph.flat.setdefault(target, Step(holder, "held by the lease, alone"))
        else:
            graph.refer(holder, target, "held by the lease", by_nature=True)


_KINDS = {"content": CONTENT, "ingests": INGEST}


def lease_holds(labels: Mapping[str, str], expires: float | None, now: float) -> str:
    """Why a lease is one; "" if it is none any more. Whether its process lives is known better
    than what time it is."""
    holder = labels.get(HOLDER)
    lives = holder_lives(holder) if holder else None
    if lives is not None:
        return "the process that holds it is alive" if lives else ""
    if expires is None:
        return "it does not expire"
    return "it has not expired" if expires > now else ""


def _expired(labels: Mapping[str, str], now: float) -> bool:
    if GC_EXPIRE not in labels:
        return False
    try:
        return parse_time(labels[GC_EXPIRE]) <= now
    except UsageError:
        return False  # what cannot be read does not delete


def _labelled(graph: Graph, node: Node, labels: Mapping[str, str]) -> None:
    """The references of an object's labels, and those back to it."""
    if not labels:
        return
    for label, _, digest in references(labels, GC_REF_CONTENT):
        graph.refer(node, Node(node.namespace, CONTENT, digest), label)
    for label, rest, key in references(labels, GC_REF_SNAPSHOT):
        if rest:
            kind = f"{SNAPSHOT}/{rest.partition('/')[0]}"
            graph.refer(node, Node(node.namespace, kind, key), label)
    for label, rest, value in references(labels, GC_BREF):
        kind, _, more = rest.partition(".")
        if kind == SNAPSHOT:
            kind = f"{SNAPSHOT}/{more.partition('/')[0]}"
        kind = kind.partition("/")[0] if not kind.startswith(SNAPSHOT) else kind
        graph.refer(Node(node.namespace, kind, value), node, label)
