"""A profile as folded stacks: a line each, frames between semicolons, microseconds at the end.

The form that flamegraph.pl and most viewers read.
"""

from __future__ import annotations

from mobyshell.core.debug.values import Profile, visible


def folded(profile: Profile) -> str:
    """`label;outermost;…;innermost 1234`, the longest first."""
    lines = []
    for stack in profile.stacks:
        names = (stack.label, *(f"{one.name} ({one.place})" for one in stack.frames))
        words = ";".join(visible(name).replace(";", ":") for name in names)
        lines.append(f"{words} {max(1, round(stack.ns / 1000))}\n")
    return "".join(lines)
