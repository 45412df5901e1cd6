"""`version`."""

from __future__ import annotations

import os
import sys

from mobyshell import __version__
from mobyshell.commands.registry import READ, verb
from mobyshell.commands.results import Record

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from mobyshell.commands.context import Context


@verb("version", "", effect=READ, example="version")
def version(ctx: Context) -> Record:
    """Show the versions of mobyshell, the runtime spec, Python and the kernel."""
    from mobyshell.core.oci.version import OCI_VERSION

    python = ".".join(str(part) for part in sys.version_info[:3])
    return Record(
        {"mobyshell": __version__, "runtime-spec": OCI_VERSION,
         "python": python, "kernel": os.uname().release},
        "mobyshell",
    )  # fmt: skip
