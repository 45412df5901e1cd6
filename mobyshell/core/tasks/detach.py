"""Detach keys: what a person types to leave a task without stopping it. Pure.

Owns the parsing of a key description and the filter between keyboard and task.
"""

from __future__ import annotations

from mobyshell.core.errors import UsageError

DEFAULT_KEYS = "ctrl-p,ctrl-q"


def parse_keys(text: str) -> bytes:
    """The bytes that `text` (`ctrl-p,ctrl-q`, docker's notation) stands for; empty: never detach.

    Single characters and ctrl- with a letter or one of @ [ \\ ] ^ _. UsageError otherwise.
    """
    keys = bytearray()
    for key in text.split(",") if text else ():
        low = key.lower()
        if len(key) == 1 and key.isascii():
            keys.append(ord(key))
        elif low.startswith("ctrl-") and len(key) == 6 and 0x40 <= ord(key[5].upper()) <= 0x5F:
            keys.append(ord(key[5].upper()) & 0x1F)
        else:
            raise UsageError(
                f"unknown detach key {key!r}", hint=f"write them as in {DEFAULT_KEYS!r}"
            )
    return bytes(keys)


class DetachFilter:
    """Lets keystrokes through and notices the detach sequence.

    A begun sequence is held back until the next key shows whether it goes on; keys that turn out
    not to be one are passed on then, in order.
    """

    def __init__(self, keys: str = DEFAULT_KEYS) -> None:
        self._keys = parse_keys(keys)
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """`(bytes to send, detached)`. What follows the sequence in `data` is dropped."""
        if not self._keys:
            return data, False
        out = bytearray()
        for byte in data:
            held = self._keys[: self._matched] + bytes((byte,))
            # the longest end of what is held that still can become the sequence (as in KMP)
            keep = next(
                size for size in range(len(held), -1, -1)
                if size == 0 or (size <= len(self._keys) and held[-size:] == self._keys[:size])
            )  # fmt: skip
            if keep == len(self._keys):
                self._matched = 0
                return bytes(out), True
            out += held[: len(held) - keep]
            self._matched = keep
        return bytes(out), False
