"""Who keeps what: every root, and each of its ways."""

from __future__ import annotations

from mobyshell.core.store.gc.graph import Graph, Node, Step, holders, tell, ways


def node(kind: str, key: str) -> Node:
    return Node("space", kind, key)


IMAGE, BOX, LEASE = node("image", "a"), node("container", "box"), node("lease", "l")
BASE, TOP, LOOSE = (node("snapshot/overlayfs", key) for key in ("base", "top", "loose"))


def graph() -> Graph:
    made = Graph(nodes=dict.fromkeys((IMAGE, BOX, LEASE, BASE, TOP, LOOSE), 0))
    made.roots.update({IMAGE: "images are kept", BOX: "containers are kept", LEASE: "it is new"})
    made.refer(IMAGE, BASE, "label")
    made.refer(BOX, TOP, "snapshot", by_nature=True)
    made.refer(TOP, BASE, "parent", by_nature=True)
    made.refer(BASE, LOOSE, "label")
    made.flat[BASE] = Step(LEASE, "held by the lease, alone")
    return made


def test_every_root_that_keeps_something_is_named() -> None:
    found = holders(graph())
    assert found[BASE] == [IMAGE, BOX, LEASE]
    assert found[TOP] == [BOX]
    assert found[LOOSE] == [IMAGE, BOX]  # a flat lease keeps nothing behind what it names


def test_each_has_its_way() -> None:
    said = [tell(way) for way in ways(graph(), BASE)]
    assert said == [
        "image a (images are kept) → this (label)",
        "container box (containers are kept) → snapshot/overlayfs top (snapshot) → this (parent)",
        "lease l (it is new) → this (held by the lease, alone)",
    ]
    assert ways(graph(), node("image", "gone")) == []
