"""Regular expressions that cannot be made to run for ever: RE2, whose syntax is Go's.

Filters come from users and from clients of the API, and what they are matched against comes from
images. Python's `re` backtracks: `(a+)+$` and thirty letters keep it busy for minutes. Containerd's
filters have Go's expressions, which look at each character of the value once, and have neither
look-around nor references back. Owns the bounds and the words of errors; the library (RE2's own
binding) is loaded when the first expression is compiled.
"""

from __future__ import annotations

from typing import Any

from mobyshell.core.errors import Unsupported, UsageError

LONGEST = 1024
"""Characters of an expression."""


class Regex:
    """A compiled expression."""

    __slots__ = ("_compiled", "pattern")

    def __init__(self, pattern: str, compiled: Any) -> None:
        self.pattern, self._compiled = pattern, compiled

    def search(self, text: str) -> bool:
        """Whether it matches anywhere in `text`. Time: at most length times length of the pattern."""
        return self._compiled.search(_whole(text)) is not None


def compile_regex(pattern: str) -> Regex:
    """The compiled `pattern`. UsageError says what of it is not understood; Unsupported where the
    library is missing."""
    if len(pattern) > LONGEST:
        raise UsageError(f"longer than {LONGEST} characters")
    try:
        import re2
    except ImportError:
        raise Unsupported(
            "regular expressions (~=) need the library google-re2",
            hint="pip install google-re2, or compare with == and !=",
        ) from None
    options = re2.Options()
    options.log_errors = False
    try:
        return Regex(pattern, re2.compile(_whole(pattern), options))
    except re2.error as error:
        said = error.args[0] if error.args else ""
        raise UsageError(
            said.decode(errors="replace") if isinstance(said, bytes) else said
        ) from None


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can have and UTF-8 cannot."""
    return text.encode(errors="replace").decode()
