"""Clocks and the time format of the OCI specs."""

from __future__ import annotations

from mobyshell.core.clock import ManualClock, SystemClock, rfc3339


def test_rfc3339_has_nine_digits_and_utc() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000000000Z"
    assert rfc3339(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(5)
    assert (clock.now_ns(), clock.monotonic_ns()) == (5, 5)
    clock.advance(1.5)
    assert clock.now_ns() == 1_500_000_005
    assert [clock.new_id(), clock.new_id()] == ["000000000001", "000000000002"]


def test_system_ids_differ_and_are_valid_container_ids() -> None:
    ids = {SystemClock().new_id() for _ in range(50)}
    assert len(ids) == 50
    assert all(len(one) == 12 and set(one) <= set("0123456789abcdef") for one in ids)
