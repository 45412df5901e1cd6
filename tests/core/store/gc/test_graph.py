"""Marking: what is reached, and by which way."""

from __future__ import annotations

from mobyshell.core.store.gc.graph import Graph, Node, Step, dead, lost, mark


def node(name: str) -> Node:
    return Node("demo", "content", name)


def graph(edges: str, roots: str) -> Graph:
    made = Graph()
    for pair in edges.split():
        for name in pair.split(">"):
            made.nodes.setdefault(node(name), 1)
    for pair in edges.split():
        source, _, target = pair.partition(">")
        if target:
            made.refer(node(source), node(target), f"{source}{target}")
    made.roots = {node(name): "root" for name in roots}
    return made


def test_what_is_reached_is_kept() -> None:
    made = graph("a>b b>c d>e e>d x", "a")
    marks = mark(made)
    assert [one.key for one in dead(made, marks)] == ["d", "e", "x"]
    assert marks.why(node("c")) == [
        Step(None, "root"), Step(node("a"), "ab"), Step(node("b"), "bc"),
    ]  # fmt: skip
    assert marks.why(node("d")) == []


def test_what_would_be_lost_is_what_nothing_else_reaches() -> None:
    made = graph("a>b b>c z>c a>d x", "az")
    assert [one.key for one in lost(made, [node("a")])] == ["b", "d"]  # x is dead already
    assert [one.key for one in lost(made, [node("a"), node("z")])] == ["b", "c", "d"]
    assert lost(made, []) == []


def test_the_way_is_the_shortest() -> None:
    marks = mark(graph("a>b b>c c>d a>d", "a"))
    assert len(marks.why(node("d"))) == 2


def test_a_reference_to_nothing_is_nothing() -> None:
    made = graph("a", "a")
    made.refer(node("a"), node("gone"), "label")
    assert list(mark(made).reached) == [node("a")]


def test_flat_keeps_what_is_so_by_nature_only() -> None:
    made = graph("a>b a>c", "")
    made.edges[node("a")] = [
        made.edges[node("a")][0]._replace(by_nature=True), made.edges[node("a")][1],
    ]  # fmt: skip
    made.flat[node("a")] = Step(node("lease"), "held")
    assert [one.key for one in dead(made, mark(made))] == ["c"]


def test_flat_takes_nothing_from_what_is_reached_otherwise() -> None:
    made = graph("r>a a>b", "r")
    made.flat[node("a")] = Step(node("lease"), "held")
    assert dead(made, mark(made)) == []


def test_a_thousand_in_a_row() -> None:
    made = graph(" ".join(f"{n}>{n + 1}" for n in range(5000)), "0")
    assert dead(made, mark(made)) == []
