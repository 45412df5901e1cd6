"""Limits and terminals, against what the kernel says of this process."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from mobyshell.core.linux import rlimits, terminals


def test_limits_as_proc_shows_them() -> None:
    found = rlimits.parse(Path("/proc/self/limits").read_text())
    assert set(found) == set(rlimits.NUMBERS)
    for name, number in rlimits.NUMBERS.items():
        both = resource.getrlimit(number)
        expected = tuple(rlimits.show(rlimits.UNLIMITED if one == -1 else one) for one in both)
        assert found[name] == expected, name


def test_a_terminals_size_and_foreground() -> None:
    master, slave = os.openpty()
    try:
        terminals.set_size(master, 33, 99)
        assert terminals.size(slave) == (33, 99)
        assert terminals.foreground(master) == 0
        assert terminals.pack_size(1, 2) == b"\1\0\2\0\0\0\0\0"
    finally:
        os.close(master)
        os.close(slave)
    with pytest.raises(OSError, match="ioctl"), open("/dev/null") as null:
        terminals.size(null.fileno())
