"""When to collect, for who runs for long: containerd's scheduler and its values. Pure.

Whoever lives shortly (a command) collects after it has removed something; a program of a user's
that serves tells a `Schedule` of every change and asks it when the next collection is due.
"""

from __future__ import annotations

from mobyshell.core.values import value

_SHORTEST = 0.1
"""Seconds between two collections, at least."""


@value
class Policy:
    """containerd's thresholds, with its defaults (plugins/gc). Times in seconds.

    `pause_threshold`: the share of time that may be spent collecting, at most 0.5.
    `deletion_threshold`: so many deletions are a reason to collect at once; 0: any is, in its turn.
    `mutation_threshold`: so many changes are a reason although nothing was deleted.
    `schedule_delay`: from a reason to the collection. `startup_delay`: to the first one.
    """

    pause_threshold: float = 0.02
    deletion_threshold: int = 0
    mutation_threshold: int = 100
    schedule_delay: float = 0.0
    startup_delay: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "pause_threshold", min(max(self.pause_threshold, 0.0), 0.5))


class Schedule:
    """What is due when. `now` is a clock that never goes back, in seconds."""

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self._due: float | None = now + policy.startup_delay
        self._deletions = self._mutations = 0
        self._spent, self._runs = 0.0, 0
        self._asked = True  # the first one needs no reason

    def changed(self, now: float, *, deleted: bool = False) -> None:
        """Something was made, changed or (`deleted`) removed."""
        policy = self._policy
        self._mutations += 1
        self._deletions += deleted
        at_once = 0 < policy.deletion_threshold <= self._deletions
        in_turn = self._due is None and self._needed
        if at_once or in_turn:
            due = now + policy.schedule_delay
            self._due = due if self._due is None else min(self._due, due)

    def request(self, now: float) -> None:
        """Somebody waits for a collection."""
        self._asked, self._due = True, now

    def due(self, now: float) -> bool:
        """Whether to collect now. If it was only the time for it, without a reason, the next
        change will be one again."""
        if self._due is None or now < self._due:
            return False
        if self._asked or self._needed:
            return True
        self._due = None
        return False

    @property
    def next(self) -> float | None:
        """When `due` should be asked again; None: after the next change."""
        return self._due

    def done(self, now: float, seconds: float) -> None:
        """A collection has taken so long. The next pauses others no longer than their share."""
        self._spent, self._runs = self._spent + seconds, self._runs + 1
        self._deletions = self._mutations = 0
        self._asked = False
        pause = _SHORTEST
        if self._policy.pause_threshold:
            average = self._spent / self._runs
            pause = max(pause, average / self._policy.pause_threshold - average)
        self._due = now + pause

    @property
    def _needed(self) -> bool:
        policy = self._policy
        if policy.deletion_threshold == 0 and self._deletions:
            return True
        if 0 < policy.deletion_threshold <= self._deletions:
            return True
        return 0 < policy.mutation_threshold <= self._mutations
