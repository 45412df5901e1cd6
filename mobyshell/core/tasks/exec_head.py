"""The bytes by which an exec is asked for, made once for what is executed again and again.

Owns how the words of that request are written. The shim knows it again by the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobyshell.core.tasks.paths import check_name

if TYPE_CHECKING:
    from typing import Any

_WORDS = ("args", "terminal", "stdin", "env", "cwd", "user", "rows", "columns")


class ExecHead:
    """The last one of a client's. Threads may share it."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._last: tuple[str, tuple[Any, ...], bytes] = "", (), b""

    def of(self, id: str, *words: Any) -> bytes:
        """All of a request (`wire.named_head`) to execute something in `id`, by the words it has."""
        before, said, head = self._last
        if before != id or said != words:
            from mobyshell.core.tasks.wire import named_head

            # what nobody asks for need not be said
            args = {name: value for name, value in zip(_WORDS, words, strict=True) if value}
            args |= {"id": check_name(id), "ends": True}
            head = named_head("exec", self._namespace, args)
            self._last = id, words, head
        return head
