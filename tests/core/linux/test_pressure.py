"""Pressure stall information, as the kernel writes it and as this kernel does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobyshell.core.errors import Unsupported
from mobyshell.core.linux.pressure import (
    HOST,
    RESOURCES,
    Pressure,
    Stall,
    how_to_get_it,
    of_group,
    of_host,
    parse,
)

SOME = "some avg10=5.42 avg60=6.99 avg300=3.14 total=4567475024\n"
FULL = "full avg10=0.00 avg60=0.10 avg300=0.20 total=7\n"


def test_both_lines_are_read() -> None:
    assert parse(SOME + FULL) == Pressure(
        Stall(5.42, 6.99, 3.14, 4567475024), Stall(0.0, 0.1, 0.2, 7)
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [("", None), (FULL, None), ("some avg10=x\n", None), ("some\n", None),
     ("what 1\n" + SOME + "full avg10=1\n", Pressure(Stall(5.42, 6.99, 3.14, 4567475024)))],
)  # fmt: skip
def test_what_is_not_known_is_passed_over(text: str, found: Pressure | None) -> None:
    assert parse(text) == found


def test_this_machine_tells_it_or_says_how_to_get_it() -> None:
    if os.path.isdir(HOST):
        found = of_host()
        assert set(found) == set(RESOURCES)
        assert all(0 <= one.some.avg10 <= 100 and one.some.total_us >= 0 for one in found.values())
    else:
        with pytest.raises(Unsupported, match="PSI"):
            of_host()


def test_a_kernel_without_it(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no /proc/pressure"):
        of_host(str(tmp_path / "none"))
    with pytest.raises(Unsupported, match="says nothing") as caught:
        of_host(str(tmp_path))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("config", "hint"),
    [("CONFIG_PSI=y\nCONFIG_PSI_DEFAULT_DISABLED=y\n", "psi=1"),
     ("CONFIG_PSI=y\n# CONFIG_PSI_DEFAULT_DISABLED is not set\n", "psi=0"),
     ("# CONFIG_PSI is not set\n", "built with CONFIG_PSI=y"), ("", "booted with psi=1")],
)  # fmt: skip
def test_how_to_get_it_follows_from_the_kernels_configuration(config: str, hint: str) -> None:
    assert hint in how_to_get_it(config)


def test_a_group_tells_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "cpu.pressure").write_text(SOME)
    (tmp_path / "io.pressure").write_text("")
    assert set(of_group(str(tmp_path))) == {"cpu"}
    assert of_group(str(tmp_path / "gone")) == {}
