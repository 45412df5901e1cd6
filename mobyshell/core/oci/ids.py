"""Container ids: what containerd and runc both accept. Pure."""

from __future__ import annotations

from mobyshell.core.errors import UsageError

LONGEST = 76
"""containerd's limit (pkg/identifiers), so that an id also fits into paths and labels."""

_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")
_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


def check_id(id: str) -> None:
    """Raise UsageError unless `id` is a container id: letters, digits and `_.+-`, one component."""
    if not isinstance(id, str) or not id:
        raise UsageError("invalid container ID format: it is empty", hint="give it a name")
    if len(id) > LONGEST:
        raise UsageError(f"invalid container ID format: longer than {LONGEST} characters")
    if id[0] not in _FIRST or not _ALLOWED.issuperset(id):
        shown = "".join(ch if ch.isprintable() else "?" for ch in id)
        raise UsageError(
            f"invalid container ID format: {shown}",
            hint="letters, digits and _ . + -, beginning with a letter, a digit or _",
        )
