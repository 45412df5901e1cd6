"""Make scripts/mobyshell-runc-verbs-x86_64 of `verbs.s`: `python -m mobyshell.runc.verbs`, by `make native`.

A program of its own beside the script that calls it, as `front` is. Not loaded at run time.
"""

from __future__ import annotations

from pathlib import Path

from mobyshell.core.runtime.native.assembler import assemble
from mobyshell.core.runtime.native.image import elf

PARTS = (
    "record.s", "wording.s", "groups.s", "verbs.s", "start.s", "delete.s", "shown.s",
)  # fmt: skip
TARGET = Path(__file__).parents[2] / "scripts/mobyshell-runc-verbs-x86_64"


def source() -> str:
    """What is assembled."""
    return "".join(Path(__file__).with_name(one).read_text() for one in PARTS)


def generated() -> bytes:
    """The executable."""
    code, labels = assemble(source())
    return elf(code, labels["verbs"])


if __name__ == "__main__":
    TARGET.write_bytes(generated())
    TARGET.chmod(0o755)
