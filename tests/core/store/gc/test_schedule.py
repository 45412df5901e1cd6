"""When a collection is due: containerd's thresholds."""

from __future__ import annotations

import pytest

from mobyshell.core.store.gc.schedule import Policy, Schedule


def settled(policy: Policy = Policy()) -> Schedule:  # noqa: B008
    made = Schedule(policy, 0.0)
    assert not made.due(0.05)
    assert made.due(0.1)
    made.done(0.2, 0.002)
    return made


def test_the_first_comes_after_the_start() -> None:
    made = settled()
    assert made.next == pytest.approx(0.3)
    assert not made.due(1.0)
    assert made.next is None


def test_a_deletion_is_a_reason() -> None:
    made = settled()
    made.due(1.0)
    made.changed(2.0)
    assert made.next is None
    made.changed(2.0, deleted=True)
    assert made.due(2.0)


def test_a_deletion_waits_for_the_pause_to_end() -> None:
    made = settled()
    made.done(1.0, 0.04)
    # 21 ms on the average at a share of 0.02: once in about a second
    made.changed(1.1, deleted=True)
    assert not made.due(1.9)
    assert made.due(2.1)


def test_many_changes_are_a_reason_without_a_deletion() -> None:
    made = settled()
    made.due(1.0)
    for _ in range(99):
        made.changed(2.0)
    assert made.next is None
    made.changed(2.0)
    assert made.due(2.0)


def test_a_threshold_of_deletions_does_not_wait() -> None:
    made = settled(Policy(deletion_threshold=2, schedule_delay=0.5))
    made.done(1.0, 10.0)
    made.changed(1.0, deleted=True)
    assert not made.due(5.0)
    made.changed(5.0, deleted=True)
    assert not made.due(5.4)
    assert made.due(5.5)


def test_who_asks_is_served() -> None:
    made = settled()
    made.done(1.0, 10.0)
    made.request(1.1)
    assert made.due(1.1)


def test_no_more_than_half_of_the_time() -> None:
    assert Policy(pause_threshold=0.9).pause_threshold == 0.5
