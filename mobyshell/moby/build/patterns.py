"""Patterns of paths, as .dockerignore and COPY have them: Go's filepath.Match, with `**`. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache


def is_pattern(path: str) -> bool:
    """Whether it has signs that stand for others."""
    return any(ch in path for ch in "*?[")


def matches(path: str, pattern: str) -> bool:
    """Whether `pattern` is of this path: `*` does not pass a slash, `**` passes any number."""
    return _compiled(pattern).fullmatch(path) is not None


class Patterns:
    """Lines that leave paths out, or (`!`) bring them back: the last that fits decides. What fits a
    directory fits all below it. https://docs.docker.com/build/concepts/context/#dockerignore-files"""

    def __init__(self, lines: Iterable[str]) -> None:
        self._found: list[tuple[re.Pattern[str], bool]] = []
        for line in lines:
            word = line.strip()
            if not word or word.startswith("#"):
                continue
            back = word.startswith("!")
            pattern = posixpath.normpath("/" + word.removeprefix("!").strip()).lstrip("/")
            if pattern:
                self._found.append((_compiled(pattern), back))
        self.bring_back = any(back for _, back in self._found)

    def __bool__(self) -> bool:
        return bool(self._found)

    def leave_out(self, path: str) -> bool:
        """Whether a path is left out. Of a directory that is, something may be brought back."""
        parts, out = path.split("/"), False
        beginnings = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for pattern, back in self._found:
            if out == back and any(pattern.fullmatch(one) for one in beginnings):
                out = not back
        return out


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    made, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                made, at = f"{made}(?:.*/)?", at + 1
            else:
                made += ".*"
            continue
        end = pattern.find("]", at + 2) if char == "[" else -1
        if end > 0:
            inside = pattern[at + 1 : end].replace("[", "\\[")
            made, at = f"{made}(?!/)[{inside}]", end + 1
            continue
        if char == "\\" and at + 1 < len(pattern):
            at, char = at + 1, re.escape(pattern[at + 1])
        else:
            char = {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
        made, at = made + char, at + 1
    try:
        return re.compile(made, re.DOTALL)
    except re.error:
        return re.compile(re.escape(pattern))
