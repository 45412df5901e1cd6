"""Trees of namespaces, of values only."""

from __future__ import annotations

from mobyshell.core.linux.namespaces.explain import EXPLANATIONS
from mobyshell.core.linux.namespaces.kinds import KINDS
from mobyshell.core.linux.namespaces.tree import OWNER, PARENT, branches
from mobyshell.core.linux.namespaces.values import Namespace

FOUND = (
    Namespace("net", 10, owner=1), Namespace("net", 11, owner=2), Namespace("pid", 20, owner=1),
    Namespace("pid", 21, owner=2, parent=20), Namespace("pid", 22, owner=99, parent=98),
    Namespace("user", 1), Namespace("user", 2, owner=1, parent=1),
)  # fmt: skip


def drawn(order: str) -> list[str]:
    return [
        f"{one.stem}{one.namespace.kind} {one.namespace.inode}" for one in branches(FOUND, order)
    ]


def test_by_owner() -> None:
    """One whose owner is not seen is at a root: it is not lost."""
    assert drawn(OWNER) == [
        "pid 22",
        "user 1",
        "├─ net 10",
        "├─ pid 20",
        "└─ user 2",
        "   ├─ net 11",
        "   └─ pid 21",
    ]


def test_by_parent() -> None:
    assert drawn(PARENT) == [
        "net 10", "net 11", "pid 20", "└─ pid 21", "pid 22", "user 1", "└─ user 2",
    ]  # fmt: skip


def test_nothing_and_a_circle() -> None:
    assert branches((), OWNER) == []
    assert [one.namespace.inode for one in branches((Namespace("user", 5, 5, 5),), PARENT)] == [5]


def test_every_kind_is_explained() -> None:
    assert set(EXPLANATIONS) == set(KINDS)
    for kind, one in EXPLANATIONS.items():
        assert one.kind == kind
        assert one.man.endswith("_namespaces(7)")
        assert len(one.text) > 100
