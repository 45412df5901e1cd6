"""Make `code.py` from `stub.s`: `python -m mobyshell.core.runtime.native.generate`, by `make native`."""

from __future__ import annotations

from pathlib import Path

from mobyshell.core.runtime.native.assembler import assemble

SOURCE = Path(__file__).with_name("stub.s")
TARGET = Path(__file__).with_name("code.py")
ENTRIES = ("spawn", "run", "start")


def generated(source: str) -> str:
    """The text of `code.py` for the assembly `source`."""
    code, labels = assemble(source)
    text = code.hex()
    lines = [f'    "{text[at : at + 90]}"' for at in range(0, len(text), 90)]
    return "\n".join(
        [
            '"""Machine code, made from `stub.s` by `make native`. Not to be edited."""',
            "",
            "CODE = bytes.fromhex(",
            *lines,
            ")",
            "",
            *(f"{name.upper()} = {labels[name]}" for name in ENTRIES),
            "",
        ]
    )


if __name__ == "__main__":
    TARGET.write_text(generated(SOURCE.read_text()))
