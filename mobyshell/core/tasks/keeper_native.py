"""Make `keeper_code.py` of `keeper.s` and what belongs to it: `python -m mobyshell.core.tasks.keeper_native`,
by `make native`. Not loaded at run time."""

from __future__ import annotations

from pathlib import Path

from mobyshell.core.runtime.native import generate

PARTS = ("keeper.s", "keeper_children.s", "keeper_words.s", "keeper_ledger.s")
TARGET = Path(__file__).with_name("keeper_code.py")


def source() -> str:
    """What is assembled."""
    return "".join(Path(__file__).with_name(one).read_text() for one in PARTS)


def generated() -> str:
    """The text of `keeper_code.py`."""
    return generate.generated(source(), entries=("keep",), made_of=PARTS[0])


if __name__ == "__main__":
    TARGET.write_text(generated())
