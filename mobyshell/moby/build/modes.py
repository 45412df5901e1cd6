"""Modes of files as `--chmod` says them: octal, or in the letters of chmod(1). Pure."""

from __future__ import annotations

import re
from typing import TypeAlias

Wanted: TypeAlias = int | str
"""A mode, or what changes one."""

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}


def parse(word: str) -> Wanted:
    """What a word wants. ValueError if it is neither."""
    if word and set(word) <= set("01234567"):
        number = int(word, 8)
        if number > 0o7777:
            raise ValueError(word)
        return number
    if not all(_CLAUSE.fullmatch(one) for one in word.split(",")):
        raise ValueError(word)
    return word


def changed(mode: int, wanted: Wanted | None, *, directory: bool = False) -> int:
    """The mode of a file that had `mode`. Where letters name nobody, all are meant: there is no umask."""
    if wanted is None or isinstance(wanted, int):
        return mode if wanted is None else wanted
    for clause in wanted.split(","):
        found = _CLAUSE.fullmatch(clause)
        assert found is not None
        who, actions = found.groups()
        mask = 0
        for one in who or "a":
            mask |= _WHO[one]
        for action, letters in _ACTION.findall(actions):
            mode = _act(mode, action, letters, mask, directory=directory)
    return mode


def _act(mode: int, action: str, letters: str, mask: int, *, directory: bool) -> int:
    if letters in _SHIFT and letters:
        value = ((mode >> _SHIFT[letters]) & 7) * 0o111
    else:
        executable = 0o111 if directory or mode & 0o111 else 0
        value = 0
        for one in letters:
            value |= executable if one == "X" else _BITS[one]
    value &= mask
    if action == "+":
        return mode | value
    if action == "-":
        return mode & ~value
    # as GNU chmod: a directory keeps its setuid and setgid, unless they are named
    kept = 0o6000 if directory and "s" not in letters else 0
    return (mode & ~(mask & ~kept)) | value
