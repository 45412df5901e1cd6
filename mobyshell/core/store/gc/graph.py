"""What needs what: objects, the roots among them, and the references between them. Pure.

Owns marking: everything that can be reached from a root is kept, and for each there is a way from
a root that says why. Knows no table and no label; `gather` makes a graph of those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mobyshell.core.values import field, value, variable

CONTENT, IMAGE, CONTAINER, LEASE, INGEST = "content", "image", "container", "lease", "ingest"
SNAPSHOT = "snapshot"
"""Kinds of objects; a snapshot's is `snapshot/<snapshotter>`."""


class Node(NamedTuple):
    """An object: `key` is its digest, name, id, reference or key."""

    namespace: str
    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class Edge(NamedTuple):
    """A reference. `why`: a label's name, or what it is by nature. `by_nature`: it holds also where
    a lease is flat, as a snapshot needs its parent."""

    target: Node
    why: str
    by_nature: bool = False


class Step(NamedTuple):
    """How an object was reached: from `source`, or as a root (None)."""

    source: Node | None
    why: str


@variable
class Graph:
    """`nodes`: all there are, with their sizes in bytes where these are their own. `flat`: what is
    kept without what it refers to."""

    nodes: dict[Node, int] = field(default_factory=dict)
    roots: dict[Node, str] = field(default_factory=dict)
    edges: dict[Node, list[Edge]] = field(default_factory=dict)
    flat: dict[Node, Step] = field(default_factory=dict)

    def refer(self, source: Node, target: Node, why: str, *, by_nature: bool = False) -> None:
        """Note a reference; to what is not there it means nothing."""
        self.edges.setdefault(source, []).append(Edge(target, why, by_nature))


@value
class Marks:
    """What is reached, and how."""

    reached: dict[Node, Step]

    def why(self, node: Node) -> list[Step]:
        """The way from a root to `node`, the root's own step first; empty if there is none."""
        way: list[Step] = []
        at: Node | None = node
        while at is not None and at in self.reached:
            step = self.reached[at]
            way.append(step)
            at = step.source
        return way[::-1]


def mark(graph: Graph) -> Marks:
    """Reach what can be reached, by the shortest ways."""
    reached: dict[Node, Step] = {}
    _spread(graph, {node: Step(None, why) for node, why in graph.roots.items()}, reached)
    _spread(graph, graph.flat, reached, flat=True)
    return Marks(reached)


def dead(graph: Graph, marks: Marks) -> list[Node]:
    """What nothing needs, in the graph's order."""
    return [node for node in graph.nodes if node not in marks.reached]


def lost(graph: Graph, roots: Iterable[Node]) -> list[Node]:
    """What would be dead without these roots, and is not now; they themselves not counted."""
    gone = set(roots)
    rest = Graph(
        {node: size for node, size in graph.nodes.items() if node not in gone},
        {node: why for node, why in graph.roots.items() if node not in gone},
        graph.edges, graph.flat,
    )  # fmt: skip
    before = set(dead(graph, mark(graph)))
    return [node for node in dead(rest, mark(rest)) if node not in before]


def ways(graph: Graph, node: Node) -> list[list[Step]]:
    """Every root's shortest way to `node`; one that holds it twice has one."""
    found = [marks.why(node) for _, marks in _by_root(graph)]
    return [way for way in found if way]


def holders(graph: Graph) -> dict[Node, list[Node]]:
    """By object: the roots that keep it, itself included if it is one."""
    found: dict[Node, list[Node]] = {}
    for root, marks in _by_root(graph):
        for node in marks.reached:
            found.setdefault(node, []).append(root)
    return found


def tell(steps: Sequence[Step]) -> str:
    """`image a → content sha256:… (target) → this (containerd.io/gc.ref.content.l.0)`."""
    first, *rest = steps
    if not rest:
        return first.why
    parts = []
    for number, step in enumerate(rest):
        what = str(step.source)
        parts.append(f"{what} ({rest[number - 1].why if number else first.why})")
    return " → ".join([*parts, f"this ({rest[-1].why})"])


def _by_root(graph: Graph) -> Iterator[tuple[Node, Marks]]:
    for root, why in graph.roots.items():
        reached: dict[Node, Step] = {}
        _spread(graph, {root: Step(None, why)}, reached)
        yield root, Marks(reached)
    for target, step in graph.flat.items():
        reached = {}
        _spread(graph, {target: step}, reached, flat=True)
        if step.source is not None and reached:
            reached[step.source] = Step(None, graph.roots[step.source])
            yield step.source, Marks(reached)


def _spread(
    graph: Graph, begin: dict[Node, Step], reached: dict[Node, Step], *, flat: bool = False
) -> None:
    waiting: deque[Node] = deque()

    def reach(steps: Iterable[tuple[Node, Step]]) -> None:
        for node, step in steps:
            if node in graph.nodes and node not in reached:
                reached[node] = step
                waiting.append(node)

    reach(begin.items())
    while waiting:
        source = waiting.popleft()
        edges = graph.edges.get(source, ())
        reach((edge.target, Step(source, edge.why)) for edge in edges if edge.by_nature or not flat)
