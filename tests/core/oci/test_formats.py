"""What strings may look like."""

# ruff: noqa: E501 (a table with a line a row)

from __future__ import annotations

from collections.abc import Callable

import pytest

from mobyshell.core.oci import formats

CASES: list[tuple[Callable[[str], bool], str, str]] = [
    (formats.is_number_list, "| 0 | 0-3,7 | 7,0-3 | 1-1 | 0, 2",
     "-1 | 3-1 | 2 - 2 | 1- | a | 0,,1 | 0-3-4 | , | ٣ | 1.5 | 9999999 | 0x1"),
    (formats.is_access, "| r | rw | mwr", "x | rr | R | r w"),
    (formats.is_page_size, "64KB | 2MB | 1GB", "| 2 | MB | 64kB | 2M | 0MB | 02MB | -2MB | ٣MB | ../2MB | 2MB/"),
    (formats.is_control_file, "memory.high | io.max | hugetlb.1GB.max", "| . | .. | .x | x. | memory | a/b.c | ../x.y"),
    (formats.is_interface, "eth0 | br-1234567890ab | veth%d | a.b", "| . | .. | a/b | a:b | a b | sixteenletters00 | ééééééééé"),
    (formats.is_one_word, "mlx5_1 | rxe3", "| a b | a/b"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fits", "word", "good"),
    [
        (fits, word.strip(), good)
        for fits, yes, no in CASES
        for words, good in ((yes, True), (no, False))
        for word in words.split("|")
    ],
    ids=lambda one: one.__name__ if callable(one) else ascii(one),
)
def test_a_format(fits: Callable[[str], bool], word: str, good: bool) -> None:
    assert fits(word) is good


@pytest.mark.parametrize("fits", [formats.is_interface, formats.is_one_word])
@pytest.mark.parametrize("space", ["\n", "\t", "\v", " ", "\u2003"])
def test_no_second_word_in_a_control_file(fits: Callable[[str], bool], space: str) -> None:
    assert not fits(f"a{space}b")
