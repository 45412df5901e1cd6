"""Lines of a diff, and values as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable

from mobyshell.core.runtime.values import Difference


def line(path: str, wanted: str, found: str, note: str = "") -> Difference:
    """They agree if they read the same."""
    return Difference(path, wanted, found, wanted == found, note)


def unknown(path: str, wanted: str, note: str, found: str = "?") -> Difference:
    """The kernel cannot be asked, or its answer proves nothing."""
    return Difference(path, wanted, found, None, note)


def listed(values: Iterable[object]) -> str:
    """`a b c`, or `none`."""
    return " ".join(str(one) for one in values) or "none"


def size(count: int) -> str:
    """Bytes: whole units where they are whole, else the number."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        whole, rest = divmod(count, 1024**power)
        if count and not rest:
            return f"{whole} {unit}"
    return f"{count} bytes"
