"""Images as files: OCI layouts (archives and directories) and Docker's archives, in and out.

Owns the formats. What comes in is a stranger's: a document is what its digest says or nothing, names
in an archive are looked up and never opened as paths, and nothing is unpacked in this process.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobyshell.core.store.archives.exporting import export_images, export_layout
    from mobyshell.core.store.archives.importing import Imported, import_images
    from mobyshell.core.store.archives.source import ImageSource, open_source

__all__ = [
    "ImageSource", "Imported", "export_images", "export_layout", "import_images", "open_source",
]  # fmt: skip

_WHERE = {"export_images": "exporting", "export_layout": "exporting", "Imported": "importing",
          "import_images": "importing", "ImageSource": "source", "open_source": "source"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
