"""Layers: unpacking them into directories, and writing what changed in a directory as one.

Owns the format (tar with whiteouts, image-spec layer.md) and the process in which a stranger's
archive is read. Knows nothing of names, snapshots or who wants a layer.

Names are loaded when they are asked for: the worker's process needs no worker.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobyshell.core.store.layers.settling import settle
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
    "settle",
]

_WHERE = {"LayerWorker": "worker", "settle": "settling"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_WHERE.get(name, 'values')}"), name)
