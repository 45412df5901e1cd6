"""Make scripts/mobyshell-runc-x86_64 of `front.s`: `python -m mobyshell.runc.front`, by `make native`.

It is a program of its own, beside the script that calls it, as nobody may write there who may not
replace that, too. Not loaded at run time.
"""

from __future__ import annotations

from pathlib import Path

from mobyshell.core.runtime.native import generate
from mobyshell.core.runtime.native.assembler import assemble
from mobyshell.core.runtime.native.image import elf

PARTS = ("front.s", "looks.s", "texts.s", "children.s", "pid_file.s", "removal.s")
SOURCES = (*generate.SOURCES, *(Path(__file__).with_name(one) for one in PARTS))
TARGET = Path(__file__).parents[2] / "scripts/mobyshell-runc-x86_64"


def source() -> str:
    """What is assembled: `front.s` uses what the launcher is made of."""
    return "".join(one.read_text() for one in SOURCES)


def generated() -> bytes:
    """The executable."""
    code, labels = assemble(source())
    return elf(code, labels["front"])


if __name__ == "__main__":
    TARGET.write_bytes(generated())
    TARGET.chmod(0o755)
