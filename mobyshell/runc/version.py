"""What `--version` says, in the three lines that docker, podman and containerd read."""

from __future__ import annotations

from mobyshell import __version__

CONTRACT = "1.3.0"
"""The version of runc whose commands and flags these are: callers compare it."""
SPEC = "1.2.0"


def version() -> str:
    """`runc version …`, `commit: …`, `spec: …`."""
    return (
        f"runc version {CONTRACT}+mobyshell.{__version__}\n"
        f"commit: mobyshell-{__version__}\nspec: {SPEC}\n"
    )
