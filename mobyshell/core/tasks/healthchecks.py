"""Whether a task is well: what its check asks for, and what follows from what the check says.

A check comes with an image (HEALTHCHECK) and is an annotation of the spec, in Docker's words; the
rules are Docker's. Who runs it is `health`; here is only what both it and clients know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci.safejson import read_json
from mobyshell.core.values import value

HEALTHCHECK = "io.mobyshell.healthcheck"
"""The annotation: JSON as in an image's `Healthcheck`, but that `Test` is `CMD` and words."""

LOG = "health.json"
"""What the last checks have said, beside the task's record."""

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
_INTERVAL, _START_INTERVAL, _RETRIES = 30.0, 5.0, 3
_LONGEST = 365 * 24 * 3600.0


@value
class Check:
    """A program that says by its status whether the task is well (0: it is). Seconds: `interval`
    between the end of one and the next, `timeout` for each; failures within `start_period` do not
    count as long as the task never was well, and there it is every `start_interval`. `retries`
    failures in a row, and it is unhealthy."""

    args: tuple[str, ...]
    interval: float = _INTERVAL
    timeout: float = _INTERVAL
    start_period: float = 0.0
    start_interval: float = _START_INTERVAL
    retries: int = _RETRIES

    def pause(self, health: str, age: float) -> float:
        """Seconds until it is asked again, of a task that has run for `age`."""
        starts = health == STARTING and age < self.start_period
        return min(self.start_interval, self.interval) if starts else self.interval


def read_check(annotation: str) -> Check | None:
    """The check that an annotation asks for; None for none, and for what cannot be one."""
    if not annotation:
        return None
    try:
        document = read_json(annotation.encode("utf-8", "surrogateescape"), HEALTHCHECK)
        test = document["Test"]
        if test[:1] != ["CMD"] or not test[1:] or not all(isinstance(one, str) for one in test):
            return None
        seconds = {name: _seconds(document.get(name)) for name in _TIMES}
        retries = max(1, int(document.get("Retries") or _RETRIES))
    except (InvalidSpec, KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    return Check(
        tuple(test[1:]), seconds["Interval"] or _INTERVAL, seconds["Timeout"] or _INTERVAL,
        seconds["StartPeriod"], seconds["StartInterval"] or _START_INTERVAL, retries,
    )  # fmt: skip


_TIMES = ("Interval", "Timeout", "StartPeriod", "StartInterval")


def _seconds(value: Any) -> float:
    return min(max(0.0, (value or 0) / 1e9), _LONGEST)


def annotation_of(words: tuple[str, ...], times: Mapping[str, int | None]) -> str:
    """The annotation for a program and Docker's numbers (nanoseconds, and `Retries`)."""
    given = {name: value for name, value in times.items() if value}
    return json.dumps({"Test": ["CMD", *words], **given})


def judged(check: Check, health: str, failing: int, *, well: bool, age: float) -> tuple[str, int]:
    """How a task is, and how often in a row the check has failed, after one more."""
    if well:
        return HEALTHY, 0
    if health in ("", STARTING) and age < check.start_period:
        return STARTING, failing
    failing += 1
    return (UNHEALTHY if failing >= check.retries else health or STARTING), failing


def read_log(directory: str) -> list[dict[str, Any]]:
    """The last checks of the task in `directory`, the latest last; none if nothing is known."""
    try:
        with open(f"{directory}/{LOG}", "rb") as file:
            found = json.loads(file.read(1 << 20))
    except (OSError, ValueError, RecursionError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
