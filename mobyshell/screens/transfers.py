"""How far a transfer is, blob by blob: events in, lines out. Knows no widget."""

from __future__ import annotations

import threading
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


@dataclass(slots=True)
class _Blob:
    kind: str
    size: int
    there: int = 0
    said: str = "waits"


class Transfers:
    """Takes a transfer's events, from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blobs: dict[Digest, _Blob] = {}
        self._note = "asking the registry"

    def __call__(self, event: ProgressEvent) -> None:
        with self._lock:
            match event:
                case Resolved():
                    self._note = event.descriptor.digest
                case TransferPlanned():
                    for one in event.descriptors:
                        self._blob(one)
                case TransferStarted() | TransferAdvanced():
                    blob = self._blob(event.descriptor)
                    blob.there, blob.said = event.offset, ""
                case TransferDone():
                    blob = self._blob(event.descriptor)
                    blob.there, blob.said = blob.size, "done"
                case AlreadyThere():
                    blob = self._blob(event.descriptor)
                    # what this very pull has fetched is asked for once more at its end
                    blob.there, blob.said = blob.size, blob.said if blob.there else "was there"
                case WaitingForOther():
                    self._blob(event.descriptor).said = "another fetches it"
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

    def lines(self) -> list[str]:
        """A line a blob: what it is, its bar, how much there is of how much."""
        with self._lock:
            return [
                f"{one.kind:8} {short(digest)} {bar(one.there, one.size)} "
                f"{size(one.there):>8} of {size(one.size):<8} {one.said}".rstrip()
                for digest, one in self._blobs.items()
            ]


def bar(there: int, of: int) -> str:
    """How much of it is there, to look at."""
    full = round(_BAR * min(1.0, there / of)) if of else _BAR
    return "█" * full + "░" * (_BAR - full)


def _kind(media_type: str) -> str:
    for kind, known in (("index", media_types.is_index), ("manifest", media_types.is_manifest),
                        ("config", media_types.is_config)):  # fmt: skip
        if known(media_type):
            return kind
    return "layer"
