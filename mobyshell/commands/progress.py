"""How far a transfer is, for a person at a terminal: one line that changes.

Written to stderr, and only there where somebody sees it: nothing in a script's output.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from mobyshell.commands.output import size
from mobyshell.core.registry.progress import (
    AlreadyThere,
    ProgressEvent,
    TransferAdvanced,
    TransferDone,
    TransferPlanned,
    TransferStarted,
)

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.oci.digest import Digest

_PAUSE = 0.1
_CLEAR = "\r\x1b[K"


class Meter:
    """Takes a transfer's events, from several threads, and shows them. Use it with `with`."""

    def __init__(self, ctx: Context, what: str) -> None:
        heard = ctx.narrate is None and not ctx.quiet
        self._shown = ctx.interactive and heard and sys.stderr.isatty()
        self._what = what
        self._lock = threading.Lock()
        self._sizes: dict[Digest, int] = {}
        self._there: dict[Digest, int] = {}
        self._done: set[Digest] = set()
        self._began, self._drawn, self._moved = time.monotonic(), 0.0, 0

    def __call__(self, event: ProgressEvent) -> None:
        with self._lock:
            self._note(event)
            now = time.monotonic()
            if self._shown and now - self._drawn >= _PAUSE:
                self._drawn = now
                sys.stderr.write(f"{_CLEAR}{self._line(now)}")
                sys.stderr.flush()

    def _note(self, event: ProgressEvent) -> None:
        if isinstance(event, TransferPlanned):
            self._sizes.update({one.digest: one.size for one in event.descriptors})
        elif isinstance(event, TransferStarted):
            self._there[event.descriptor.digest] = event.offset
        elif isinstance(event, TransferAdvanced):
            digest = event.descriptor.digest
            self._moved += max(0, event.offset - self._there.get(digest, 0))
            self._there[digest] = event.offset
        elif isinstance(event, (TransferDone, AlreadyThere)):
            self._done.add(event.descriptor.digest)
            self._there[event.descriptor.digest] = event.descriptor.size

    def _line(self, now: float) -> str:
        there = sum(self._there.values())
        total = sum(self._sizes.values()) or there
        share = min(1.0, there / total) if total else 0.0
        bar = "█" * round(20 * share) + "░" * (20 - round(20 * share))
        rate = self._moved / max(now - self._began, 0.001)
        return (f"{self._what} {bar} {size(there)} of {size(total)}, "
                f"{len(self._done)} of {len(self._sizes)} blobs, {size(rate)}/s")  # fmt: skip

    def said(self) -> str:
        """What was moved, when it is over."""
        if not self._moved:
            return "everything was there already"
        seconds = max(time.monotonic() - self._began, 0.001)
        return f"{size(self._moved)} in {seconds:.1f} s, {size(self._moved / seconds)}/s"

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
