"""The words of a request, checked: every argument has a type and a default.

Owns what may come in over the socket. A client is the same user, but it may be of another version
or confused; it gets a UsageError that names the argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mobyshell.core.errors import UsageError
from mobyshell.core.runtime.values import RootMount

_MAX_SIZE = 0xFFFF


class Words:
    """The arguments of one request. `head`: see `wire.named_head`, if it was asked like that."""

    def __init__(self, args: Mapping[str, Any], head: bytes = b"") -> None:
        self._args, self.head = args, head

    def text(self, name: str, default: str | None = None) -> str:
        """A string without NUL; required if there is no default."""
        value = self._args.get(name, default)
        if not isinstance(value, str) or "\0" in value:
            raise UsageError(f"argument {name} of the request must be a text")
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings; None if it is absent."""
        value = self._args.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(
            isinstance(one, str) and "\0" not in one for one in value
        ):
            raise UsageError(f"argument {name} of the request must be a list of texts")
        return tuple(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._args.get(name, default)
        if not isinstance(value, bool):
            raise UsageError(f"argument {name} of the request must be true or false")
        return value

    def maybe(self, name: str) -> bool | None:
        """True, false, or absent."""
        return None if self._args.get(name) is None else self.flag(name)

    def size(self, name: str) -> int:
        """Rows or columns: 0 (not given) to 65535."""
        value = self._args.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_SIZE:
            raise UsageError(f"argument {name} of the request must be from 0 to {_MAX_SIZE}")
        return value

    def number(self, name: str) -> int:
        """An integer, required."""
        value = self._args.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"argument {name} of the request must be a number")
        return value

    def rootfs(self) -> RootMount | None:
        """What a root filesystem is mounted from: `[type, source, option…]`; None if it is absent."""
        words = self.texts("rootfs")
        if words is None:
            return None
        if len(words) < 2:
            raise UsageError("argument rootfs of the request must be a type, a source, and options")
        return RootMount(words[0], words[1], words[2:])

    def table(self, name: str) -> dict[str, Any]:
        """A JSON object, required."""
        value = self._args.get(name)
        if not isinstance(value, dict):
            raise UsageError(f"argument {name} of the request must be an object")
        return value
