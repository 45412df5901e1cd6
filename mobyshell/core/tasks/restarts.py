"""Restart policies: whether, and when, a task that has ended is started again. Pure.

    no                nothing happens
    on-failure[:N]    again if its exit status was not 0, at most N times
    always            again, however it ended
    unless-stopped    likewise; but what somebody has stopped stays so when the machine starts anew

The words are docker's, podman's and containerd's; the labels by which a container in the store has
its policy are containerd's (core/runtime/restart). The pauses are docker's: 100 ms, doubled each time
up to a minute, and from the beginning once it has run for ten seconds. What somebody ends by
`kill` or `stop` is not started again, whatever the policy.

Owns the decision and its words. Who carries it out is `restarting`, who remembers it the record.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping

from mobyshell.core.errors import UsageError
from mobyshell.core.values import value

POLICY = "containerd.io/restart.policy"
STATUS = "containerd.io/restart.status"
"""What its task should be: `running` from its first start on."""
EXPLICITLY_STOPPED = "containerd.io/restart.explicitly-stopped"

NO, ON_FAILURE, ALWAYS, UNLESS_STOPPED = "no", "on-failure", "always", "unless-stopped"
NAMES = (NO, ON_FAILURE, ALWAYS, UNLESS_STOPPED)

FIRST_MS, LONGEST_MS = 100, 60_000
STEADY_NS = 10_000_000_000
"""What ran that long has not failed at its start."""

_MOST_RETRIES = 1 << 31


@value
class Policy:
    """A policy. `retries`: how often a failed task is started again; 0: without end."""

    name: str = NO
    retries: int = 0

    def __bool__(self) -> bool:
        return self.name != NO

    def __str__(self) -> str:
        return f"{self.name}:{self.retries}" if self.retries else self.name

    def wants(self, exit_status: int, restarts: int) -> bool:
        """Whether a task that ended so, and was started again so often, is started again."""
        if self.name == ON_FAILURE:
            return exit_status != 0 and (not self.retries or restarts < self.retries)
        return self.name in (ALWAYS, UNLESS_STOPPED)


def parse(text: str) -> Policy:
    """The policy that `text` names; "" and podman's `never` are `no`. UsageError."""
    name, colon, number = text.partition(":")
    name = NO if name in ("", "never") else name
    if name in NAMES and not colon:
        return Policy(name)
    if name == ON_FAILURE and number.isascii() and number.isdecimal() and len(number) < 11:
        return Policy(name, min(int(number), _MOST_RETRIES))
    raise UsageError(
        f"{text!r:.40} is no restart policy", hint="no, on-failure[:N], always or unless-stopped"
    )


def pause_ms(before: int, ran_ns: int) -> int:
    """The pause after the one of `before` milliseconds (0: none yet), when it has run so long."""
    if not before or ran_ns >= STEADY_NS:
        return FIRST_MS
    return min(before * 2, LONGEST_MS)


STOP_SIGNAL = "org.opencontainers.image.stopSignal"
"""The annotation in which a spec has the signal that its image names (conversion.md)."""

_ENDING = frozenset({signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGQUIT})


def stop_signal(annotations: Mapping[str, str]) -> int:
    """What asks a task to end: the signal that its image names, or SIGTERM."""
    word = annotations.get(STOP_SIGNAL, "").upper().removeprefix("SIG")
    if word.isascii() and word.isdecimal():
        number = int(word[:3])
        return number if 0 < number <= signal.SIGRTMAX else signal.SIGTERM
    name, plus, more = word.partition("+")
    try:
        base = int(signal.Signals[f"SIG{name}"])
        number = base + (int(more[:2]) if plus else 0)
    except (KeyError, ValueError):
        return signal.SIGTERM
    return number if number <= signal.SIGRTMAX else signal.SIGTERM


def is_stop(number: int, annotations: Mapping[str, str]) -> bool:
    """Whether who sends this signal wants a task to end: not one that only tells it something."""
    return number in _ENDING or number == stop_signal(annotations)


def starts_at_boot(labels: Mapping[str, str]) -> bool:
    """Whether the container of these labels is to run when the machine has started."""
    if labels.get(STATUS) != "running":
        return False  # nobody has ever started it
    name = labels.get(POLICY, NO)
    return name == ALWAYS or (name == UNLESS_STOPPED and labels.get(EXPLICITLY_STOPPED) != "true")


def labels_at_start(labels: Mapping[str, str]) -> dict[str, str | None]:
    """What changes of a container's labels when its task is started; nothing without a policy."""
    if labels.get(POLICY, NO) == NO:
        return {}
    wanted: dict[str, str | None] = {STATUS: "running", EXPLICITLY_STOPPED: None}
    return {name: value for name, value in wanted.items() if labels.get(name) != value}
