"""Layers: unpacking them into directories, and writing what changed in a directory as one.

Owns the format (tar with whiteouts, image-spec layer.md) and the process in which a stranger's
archive is read. Knows nothing of names, snapshots or who wants a layer.
"""

from mobyshell.core.store.layers.values import (
    Applied,
    Compression,
    Form,
    Limits,
    Progress,
    Region,
    Written,
)
from mobyshell.core.store.layers.worker import LayerWorker

__all__ = [
    "Applied",
    "Compression",
    "Form",
    "LayerWorker",
    "Limits",
    "Progress",
    "Region",
    "Written",
]
