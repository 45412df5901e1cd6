"""What programs are started from: it takes their time, tells of failures, hides mounts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mobyshell.bench.stand import Stand
from mobyshell.core.errors import MobyshellError


@contextmanager
def stand(*without: str) -> Iterator[Stand]:
    made = Stand(*without)
    try:
        yield made
    finally:
        made.close()


def test_it_takes_the_time_of_one_program_after_the_other() -> None:
    with stand() as one:
        assert one.run(["/bin/sleep", "0.05"]) > 50_000_000
        assert 0 < one.run(["/bin/true"]) < 60_000_000_000


def test_a_failure_is_told_with_the_last_words() -> None:
    with stand() as one:
        with pytest.raises(MobyshellError, match=r"/bin/sh exited with 3: said$"):
            one.run(["/bin/sh", "-c", "echo first; echo said >&2; exit 3"])
        with pytest.raises(MobyshellError, match=r"/nowhere exited with 127: .*No such file"):
            one.run(["/nowhere"])
        one.run(["/bin/true"])


@pytest.mark.root
def test_what_is_hidden_from_its_programs_is_there_for_everybody_else() -> None:
    with stand("/proc") as one:
        one.run(["/bin/sh", "-c", "! [ -e /proc/self ]"])
    assert os.path.exists("/proc/self")
