"""Make `code.py` of `stub.s` and what is behind it: `python -m mobyshell.core.runtime.native.generate`,
by `make native`. Not loaded at run time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobyshell.core.runtime.native.assembler import assemble

SOURCES = tuple(Path(__file__).with_name(name) for name in ("stub.s", "launcher.s"))
TARGET = Path(__file__).with_name("code.py")
ENTRIES = ("spawn", "run", "start")


def source() -> str:
    """What is assembled."""
    return "".join(one.read_text() for one in SOURCES)


def generated(source: str, entries: Sequence[str] = ENTRIES, made_of: str = SOURCES[0].name) -> str:
    """The text of `code.py` for the assembly `source`."""
    code, labels = assemble(source)
    text = code.hex()
    lines = [f'    "{text[at : at + 90]}"' for at in range(0, len(text), 90)]
    return "\n".join(
        [
            f'"""Machine code, made from `{made_of}` by `make native`. Not to be edited."""',
            "",
            "CODE = bytes.fromhex(",
            *lines,
            ")",
            "",
            *(f"{name.upper()} = {labels[name]}" for name in entries),
            "",
        ]
    )


if __name__ == "__main__":
    TARGET.write_text(generated(source()))
