"""The distribution spec: images from registries and to them.

`Client(…).repository(reference)` is the way in; `pull.pull`, `push.push` and the other verbs take
the repository. Where content goes to and comes from is the caller's (`seam`). Names are loaded when
they are asked for: whoever lists tasks needs no HTTP.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobyshell.core.registry.client import Client
    from mobyshell.core.registry.credentials import OneKeyring, default_keyring
    from mobyshell.core.registry.seam import BlobWriter, ContentSink, ContentSource
    from mobyshell.core.registry.session import Repository
    from mobyshell.core.registry.stop import Stop
    from mobyshell.core.registry.values import TLS, Credentials, Limits

__all__ = [
    "TLS", "BlobWriter", "Client", "ContentSink", "ContentSource", "Credentials", "Limits",
    "OneKeyring", "Repository", "Stop", "default_keyring",
]  # fmt: skip

_MODULES = {
    "client": "Client",
    "credentials": "OneKeyring default_keyring",
    "seam": "BlobWriter ContentSink ContentSource",
    "session": "Repository",
    "stop": "Stop",
    "values": "TLS Credentials Limits",
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = found
    return found
