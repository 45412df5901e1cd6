"""What a pull or push tells while it goes on: typed, one value an event.

A `Progress` is called from several threads at once; it must neither block nor raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mobyshell.core.oci.descriptor import Descriptor


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """Something happened."""


@dataclass(frozen=True, slots=True)
class Resolved(ProgressEvent):
    """A name became content."""

    name: str
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class TransferPlanned(ProgressEvent):
    """These blobs will be moved, or are there already."""

    descriptors: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class TransferStarted(ProgressEvent):
    """Bytes of this begin to move; `offset` of them are there from a former try."""

    descriptor: Descriptor
    offset: int = 0


@dataclass(frozen=True, slots=True)
class TransferAdvanced(ProgressEvent):
    """So many bytes of it are there now."""

    descriptor: Descriptor
    offset: int


@dataclass(frozen=True, slots=True)
class TransferDone(ProgressEvent):
    """It is there, whole and verified."""

    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class AlreadyThere(ProgressEvent):
    """It needs not be moved: the other side has it, or took it over from the repository `source`."""

    descriptor: Descriptor
    source: str = ""


@dataclass(frozen=True, slots=True)
class WaitingForOther(ProgressEvent):
    """Somebody else is fetching the same; it will be there when they are done."""

    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class Retrying(ProgressEvent):
    """Something failed for now; it is tried again in so many seconds."""

    what: str
    attempt: int
    seconds: float
    why: str


Progress = Callable[[ProgressEvent], None]


def quiet(event: ProgressEvent, /) -> None:
    """Nobody looks."""
