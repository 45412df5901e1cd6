"""Stacks put together: the same callers are one node, as wide as all that it calls and does itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from mobyshell.core.debug.values import Frame, Profile


@dataclass(slots=True)
class Node:
    """A function as called from where it stands. `ns`: with what it calls; `own_ns`: without."""

    frame: Frame
    ns: int = 0
    own_ns: int = 0
    children: dict[Frame, Node] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Total:
    """A function, from wherever it was called. Recursion counts once."""

    frame: Frame
    own_ns: int
    ns: int


def grow(profile: Profile) -> Node:
    """The tree of a profile. Several threads are several children of the root, by their names."""
    root = Node(Frame("all", "", 0))
    several = len({stack.label for stack in profile.stacks}) > 1
    for stack in profile.stacks:
        frames = (Frame(stack.label, "", 0), *stack.frames) if several else stack.frames
        node = root
        node.ns += stack.ns
        for frame in frames:
            node = node.children.setdefault(frame, Node(frame))
            node.ns += stack.ns
        node.own_ns += stack.ns
    return root


def totals(profile: Profile) -> list[Total]:
    """Each function with its time, the most own time first."""
    own: dict[Frame, int] = {}
    whole: dict[Frame, int] = {}
    for stack in profile.stacks:
        for frame in set(stack.frames):
            whole[frame] = whole.get(frame, 0) + stack.ns
        if stack.frames:
            own[stack.frames[-1]] = own.get(stack.frames[-1], 0) + stack.ns
    found = [Total(frame, own.get(frame, 0), ns) for frame, ns in whole.items()]
    return sorted(found, key=lambda one: (-one.own_ns, -one.ns, one.frame.name))
