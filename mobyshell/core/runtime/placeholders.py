"""What stands in a plan's texts until a container is made: its id, its pids, its home.

Owns the putting in, and how much room is kept. A plan is made once for many containers; no string of
a spec can hold a NUL, so no stranger's text is taken for a placeholder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mobyshell.core.runtime.plan import HOME, INIT, INNER, PID, SNAPSHOT

ID = "\0id\0"
"""Stands in texts for the container's id, so that a program can be made once for many: no string
of a spec can hold a NUL."""

LONGEST_ID = 80
"""Bytes kept for an id, or a pid, in the place of its placeholder."""

LONGEST_SNAPSHOT = 256
"""Bytes kept for a snapshot's directory; of an option of a filesystem the kernel takes no more."""

LONGEST_HOME = 4096
"""Bytes kept for a home in the place of its placeholder."""

_PLACEHOLDERS = (
    (ID, "id", ""), (HOME, "home", "/"), (PID, "pid", "0"), (INIT, "init", "0"),
    (INNER, "inner", "0"),
    (SNAPSHOT, "snapshot", ""),
)  # fmt: skip


def put_in(text: str, values: Mapping[str, str]) -> str:
    """`text` with `values` in the places of its placeholders."""
    filled = text
    for placeholder, name, default in _PLACEHOLDERS:
        if placeholder in filled:
            filled = filled.replace(placeholder, values.get(name, default))
    # what holds a pid already is no template, whatever braces the spec puts in it
    if "pid" not in values or PID in text:
        return filled
    # not str.format: a path may have braces of its own, and what is in them is a stranger's
    pid = values["pid"]
    return filled.replace("{pid}", pid).replace("{pid:<10}", f"{pid:<10}")


def encoded(text: str) -> bytes:
    """As it lies in a program."""
    return text.encode("utf-8", "surrogateescape") + b"\0"


class Slots:
    """Where texts with placeholders lie. `named`: those with nothing but the id to put in, as they lie
    there; of them there are many, and they are quickly filled. `others`: all others."""

    __slots__ = ("_wanted", "named", "others")

    def __init__(self, slots: Iterable[tuple[int, str]]) -> None:
        self.named: list[tuple[int, bytes]] = []
        self.others: list[tuple[int, str]] = []
        self._wanted: dict[str, bool] = {}
        for at, text in slots:
            if text.count("\0") == 2 * text.count(ID) and "{pid" not in text:
                self.named.append((at, encoded(text)))
            else:
                self.others.append((at, text))

    def want(self, placeholder: str) -> bool:
        """Whether one of the others has `placeholder` in it. It is looked for once."""
        found = self._wanted.get(placeholder)
        if found is None:
            found = any(placeholder in text for _, text in self.others)
            self._wanted[placeholder] = found
        return found
