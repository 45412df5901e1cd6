"""What the runtime says: one line an entry, in the two formats of logrus, as callers parse them.

Owns --log, --log-format and --debug. Errors go to the log, and bare to stderr where the log is a
file: containerd's shim and podman read both.
"""

from __future__ import annotations

import os
import time

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Log:
    """Where entries go: `fd` is stderr, or the file that --log names."""

    def __init__(self) -> None:
        self.fd = 2
        self.json = False
        self.debugging = False

    def open(self, path: str) -> None:
        """Append to `path` from here on. OSError if it cannot be opened."""
        if path and path != "/dev/stderr":
            how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_SYNC | os.O_CLOEXEC
            self.fd = os.open(path, how, 0o644)

    @property
    def to_stderr(self) -> bool:
        return self.fd == 2

    def entry(self, level: str, message: str) -> None:
        now = time.time()
        zone = time.strftime("%z", time.localtime(now))
        zone = "Z" if zone in ("+0000", "") else f"{zone[:3]}:{zone[3:]}"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now)) + zone
        if self.json:
            line = f'{{"level":"{level}","msg":"{_escaped(message)}","time":"{stamp}"}}\n'
        else:
            shown = message
            if not message or not _PLAIN.issuperset(message):
                shown = f'"{_escaped(message)}"'
            line = f'time="{stamp}" level={level} msg={shown}\n'
        try:
            os.write(self.fd, line.encode(errors="replace"))
        except OSError:
            pass  # the log's disk is full: no reason to fail a container

    def debug(self, message: str) -> None:
        if self.debugging:
            self.entry("debug", message)

    def info(self, message: str) -> None:
        self.entry("info", message)

    def warning(self, message: str) -> None:
        self.entry("warning", message)

    def error(self, message: str) -> None:
        """An error ends the call: its text is for the caller's stderr as well."""
        self.entry("error", message)
        if not self.to_stderr:
            os.write(2, message.encode(errors="replace") + b"\n")


def _escaped(text: str) -> str:
    """Both a JSON string's and a Go string's inside."""
    return "".join(
        _ESCAPES.get(one) or (one if one >= " " else f"\\u{ord(one):04x}") for one in text
    )
