"""Images as files: OCI layouts (archives and directories) and Docker's archives, in and out.

Owns the formats. What comes in is a stranger's: a document is what its digest says or nothing, names
in an archive are looked up and never opened as paths, and nothing is unpacked in this process.
"""

from mobyshell.core.store.archives.exporting import export_images
from mobyshell.core.store.archives.importing import Imported, import_images
from mobyshell.core.store.archives.source import ImageSource, open_source

__all__ = ["ImageSource", "Imported", "export_images", "import_images", "open_source"]
