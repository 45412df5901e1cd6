"""Names of namespaces, containers, images and leases: which are taken, and how others are refused.

Pure. Names that become directories (of namespaces and containers) are held to containerd's rule
(pkg/identifiers); all are one line of printable text.
"""

from __future__ import annotations

from itertools import pairwise

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.safejson import show

LONGEST = 76
"""Characters of an identifier: containerd's bound."""

LONGEST_NAME = 4096
"""Bytes of any other name: a reference may hold a digest and more."""

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_BETWEEN = frozenset("_.-")


def check_identifier(name: str, what: str) -> str:
    """`name`, if it is letters and digits with single `_`, `.`, `-` between; UsageError otherwise."""
    ok = isinstance(name, str) and 0 < len(name) <= LONGEST
    if ok:
        ok = name[0] in _LETTERS and name[-1] in _LETTERS
        ok = ok and (_LETTERS | _BETWEEN).issuperset(name)
        ok = ok and not any({a, b} <= _BETWEEN for a, b in pairwise(name))
    if not ok:
        raise UsageError(
            f"invalid {what} {show(name)}",
            hint=f"letters and digits with single . _ - between them, at most {LONGEST}",
        )
    return name


def check_name(name: str, what: str) -> str:
    """`name`, if it is a non-empty line of printable text; UsageError otherwise."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise UsageError(f"invalid {what} {show(name)}", hint="one line of printable characters")
    if len(name.encode(errors="surrogatepass")) > LONGEST_NAME:
        raise UsageError(f"invalid {what} {show(name)}", hint=f"at most {LONGEST_NAME} bytes")
    return name
