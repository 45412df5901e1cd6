"""What is known of content: of blobs, and of what is being written."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from mobyshell.core.oci.digest import Digest
from mobyshell.core.values import field, value

FRESH = 3600.0
"""Seconds for which garbage collection leaves alone what was written without a lease."""


class Sharing(StrEnum):
    """Whether a namespace may have a blob that another one has without writing its bytes.

    Who may, learns whether somebody else has it. `isolated`: only what is labelled
    `containerd.io/namespace.shareable=true` there.
    """

    ISOLATED = "isolated"
    SHARED = "shared"


@value
class Info:
    """A blob as a namespace sees it. Times in seconds since the epoch."""

    digest: Digest
    size: int
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0


@value
class Status:
    """An ingest: `offset` bytes of `total` (None: not known) are there."""

    ref: str
    offset: int
    total: int | None = None
    expected: Digest | None = None
    started: float = 0.0
    updated: float = 0.0
