"""How far a transfer is, blob by blob: events in, lines out. Knows no widget."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mobyshell.commands.output import clean, size
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.registry.progress import (
    AlreadyThere,
    ProgressEvent,
    Resolved,
    Retrying,
    TransferAdvanced,
    TransferDone,
    TransferPlanned,
    TransferStarted,
    WaitingForOther,
)
from mobyshell.screens.image_rows import short

_BAR = 20
_LEAST = 6
_BESIDE = 50
"""Cells of a line that are not its bar."""

WAITS, DONE, THERE, OTHER = "waits", "done", "was there", "by another"


@dataclass(slots=True)
class _Blob:
    kind: str
    size: int
    there: int = 0
    said: str = WAITS

    @property
    def rank(self) -> int:
        """Where it is shown if not all can be: what moves, what will, and what is over."""
        return {"": 0, OTHER: 0, WAITS: 1}.get(self.said, 2)


class Transfers:
    """Takes a transfer's events, from several threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._blobs: dict[Digest, _Blob] = {}
        self._note = "asking the registry"
        self._now, self._began, self._moved = now, 0.0, 0

    def __call__(self, event: ProgressEvent) -> None:
        with self._lock:
            match event:
                case Resolved():
                    self._note = ""
                case TransferPlanned():
                    for one in event.descriptors:
                        self._blob(one)
                case TransferStarted():
                    self._began = self._began or self._now()
                    blob = self._blob(event.descriptor)
                    blob.there, blob.said = event.offset, ""
                case TransferAdvanced():
                    self._note = ""  # whatever it was, it goes on
                    blob = self._blob(event.descriptor)
                    self._moved += max(0, event.offset - blob.there)
                    blob.there, blob.said = event.offset, ""
                case TransferDone():
                    blob = self._blob(event.descriptor)
                    blob.there, blob.said = blob.size, DONE
                case AlreadyThere():
                    blob = self._blob(event.descriptor)
                    # what this very pull has fetched is asked for once more at its end
                    blob.there, blob.said = blob.size, blob.said if blob.there else THERE
                case WaitingForOther():
                    self._blob(event.descriptor).said = OTHER
                case Retrying():
                    again = f"once more in {event.seconds:.0f} s"
                    self._note = f"{clean(event.what)}: {clean(event.why)}; {again}"

    def _blob(self, one: Descriptor) -> _Blob:
        found = self._blobs.get(one.digest)
        if found is None:
            found = self._blobs[one.digest] = _Blob(_kind(one.media_type), one.size)
        return found

    @property
    def note(self) -> str:
        """What is to be said of the whole."""
        with self._lock:
            return self._note

    @property
    def summary(self) -> str:
        """How far the whole is, how fast, and how long it will take; "" while that is not known."""
        with self._lock:
            total, there = (sum(one.size for one in self._blobs.values()),
                            sum(one.there for one in self._blobs.values()))  # fmt: skip
            if not total:
                return ""
            said = [f"{size(there)} of {size(total)}"]
            rate = self._moved / max(self._now() - self._began, 0.001) if self._began else 0
            if rate:
                said.append(f"{size(rate)}/s")
                if there < total:
                    said.append(f"{(total - there) / rate:.0f} s to go")
            return ", ".join(said)

    def lines(self, width: int = _BESIDE + _BAR, most: int = 0) -> list[str]:
        """A line a blob: what it is, its bar, how much there is of how much. Of more than `most`
        (0: none is too many) those that move, and how many the others are."""
        with self._lock:
            blobs = list(self._blobs.items())
        rest: list[_Blob] = []
        if 0 < most < len(blobs):
            ranked = sorted(blobs, key=lambda one: one[1].rank)
            blobs, rest = ranked[: most - 1], [one for _, one in ranked[most - 1 :]]
        cells = max(_LEAST, min(_BAR, width - _BESIDE))
        lines = [
            f"{one.kind:8} {short(digest)} {bar(one.there, one.size, cells)} "
            f"{size(one.there):>6} of {size(one.size):<6} {one.said}".rstrip()
            for digest, one in blobs
        ]
        if rest:
            states = Counter(one.said or "under way" for one in rest)
            counted = ", ".join(f"{count} {state}" for state, count in states.items())
            lines.append(f"and {len(rest)} more: {counted}")
        return lines


def bar(there: int, of: int, cells: int = _BAR) -> str:
    """How much of it is there, to look at."""
    full = round(cells * min(1.0, there / of)) if of else cells
    return "█" * full + "░" * (cells - full)


def _kind(media_type: str) -> str:
    for kind, known in (("index", media_types.is_index), ("manifest", media_types.is_manifest),
                        ("config", media_types.is_config)):  # fmt: skip
        if known(media_type):
            return kind
    return "layer"
