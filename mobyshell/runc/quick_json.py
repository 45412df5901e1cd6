"""JSON for those who cannot wait for the module `json`: what that is made of, and no more."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_BLANK = " \t\n\r"


class _Context:
    """How JSON is read: as `json.loads` does."""

    strict = True
    object_hook = None
    parse_float, parse_int = float, int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012  # made anew for each document

    def __init__(self, pairs: Callable[[list[tuple[str, Any]]], object] | None) -> None:
        self.object_pairs_hook = pairs


def document(
    text: str, pairs: Callable[[list[tuple[str, Any]]], object] | None = None
) -> Any:  # fmt: skip
    """JSON as values, objects made by `pairs`. ValueError if it is none."""
    from _json import make_scanner  # what the module `json` is made of; that one costs 6 ms

    start = len(text) - len(text.lstrip(_BLANK))
    try:
        found, end = make_scanner(_Context(pairs))(text, start)  # type: ignore[arg-type]
    except (StopIteration, RecursionError, SystemError):  # the last: `json` is not there to tell
        raise ValueError("not JSON") from None
    if text[end:].strip(_BLANK):
        raise ValueError("more than one document")
    return found
