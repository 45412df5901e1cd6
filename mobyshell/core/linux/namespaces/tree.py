"""Namespaces as a tree: by who owns which, or by who contains which. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mobyshell.core.linux.namespaces.values import Namespace
from mobyshell.core.values import value

OWNER, PARENT = "owner", "parent"
"""`owner`: user namespaces with those they own below them. `parent`: each kind by itself, user and
pid namespaces within their parents."""


@value
class Branch:
    """A namespace at its place: `depth` below its root, `stem` the lines that lead to it."""

    namespace: Namespace
    depth: int
    stem: str


def branches(namespaces: Sequence[Namespace], order: str = OWNER) -> list[Branch]:
    """All of them, parents before children; whose parent is not among them, at a root."""
    parent_of = above(namespaces, order)
    below: dict[int, list[Namespace]] = {}
    for one in namespaces:
        below.setdefault(parent_of(one), []).append(one)
    for found in below.values():
        # the user namespaces last: what they own would part the others
        found.sort(key=lambda one: (order == OWNER and one.kind == "user", one.kind, one.inode))
    out: list[Branch] = []
    # not by recursion: user and pid namespaces can be 32 deep
    pending = [(one, 0, "", "") for one in reversed(below.get(0, []))]
    while pending:
        one, depth, stem, mark = pending.pop()
        out.append(Branch(one, depth, stem + mark))
        stem += {"": "", "├─ ": "│  ", "└─ ": "   "}[mark]
        children = below.get(one.inode, [])
        pending += [
            (child, depth + 1, stem, "└─ " if child is children[-1] else "├─ ")
            for child in reversed(children)
        ]
    return out


def above(namespaces: Sequence[Namespace], order: str) -> Callable[[Namespace], int]:
    """What tells the inode of the one that a namespace stands below; 0 at a root."""
    return _owner(namespaces) if order == OWNER else _parent(namespaces)


def _owner(namespaces: Sequence[Namespace]) -> Callable[[Namespace], int]:
    users = {one.inode for one in namespaces if one.kind == "user"}

    def parent(one: Namespace) -> int:
        above = one.parent if one.kind == "user" else one.owner
        return above if above in users and above != one.inode else 0

    return parent


def _parent(namespaces: Sequence[Namespace]) -> Callable[[Namespace], int]:
    inodes = {one.inode for one in namespaces}
    return lambda one: one.parent if one.parent in inodes and one.parent != one.inode else 0
