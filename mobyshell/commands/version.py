"""`version`."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from mobyshell import __version__
from mobyshell.commands.registry import READ, verb
from mobyshell.commands.results import Record

if TYPE_CHECKING:
    from mobyshell.commands.context import Context


@verb("version", "", effect=READ, example="version")
def version(ctx: Context) -> Record:
    """Show the versions of mobyshell, the runtime spec, Python and the kernel."""
    from mobyshell.core.oci.defaults import OCI_VERSION

    return Record(
        {"mobyshell": __version__, "runtime-spec": OCI_VERSION,
         "python": platform.python_version(), "kernel": platform.release()},
        "mobyshell",
    )  # fmt: skip
