"""Restart policies, decided: words, pauses, labels."""

from __future__ import annotations

import signal

import pytest

from mobyshell.core.errors import UsageError
from mobyshell.core.tasks import restarts
from mobyshell.core.tasks.records import Record
from mobyshell.core.tasks.restarts import EXPLICITLY_STOPPED, POLICY, STATUS, parse

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "name", "retries"),
    [("", "no", 0), ("no", "no", 0), ("never", "no", 0), ("always", "always", 0),
     ("unless-stopped", "unless-stopped", 0), ("on-failure", "on-failure", 0),
     ("on-failure:0", "on-failure", 0), ("on-failure:3", "on-failure", 3)],
)  # fmt: skip
def test_the_words_of_docker_and_podman(text: str, name: str, retries: int) -> None:
    found = parse(text)
    assert (found.name, found.retries) == (name, retries)
    assert parse(str(found)) == found


@pytest.mark.parametrize(
    "text", ["sometimes", "always:3", "no:1", "on-failure:", "on-failure:-1", "on-failure:x",
             "on-failure:\u0663", "on-failure:99999999999999", " always", "ALWAYS"],
)  # fmt: skip
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no restart policy"):
        parse(text)


@pytest.mark.parametrize(
    ("policy", "status", "restarts", "wanted"),
    [("no", 1, 0, False), ("always", 0, 99, True), ("always", 1, 99, True),
     ("unless-stopped", 0, 0, True), ("on-failure", 0, 0, False), ("on-failure", 1, 9999, True),
     ("on-failure:2", 137, 1, True), ("on-failure:2", 137, 2, False), ("on-failure", -1, 0, True)],
)  # fmt: skip
def test_what_is_wanted(policy: str, status: int, restarts: int, wanted: bool) -> None:
    assert parse(policy).wants(status, restarts) is wanted


def test_pauses_double_up_to_a_minute_and_begin_anew_after_ten_seconds() -> None:
    pauses, before = [], 0
    for _ in range(12):
        before = restarts.pause_ms(before, 9 * SECOND)
        pauses.append(before)
    assert pauses[:5] == [100, 200, 400, 800, 1600]
    assert pauses[-2:] == [60_000, 60_000]
    assert restarts.pause_ms(60_000, 10 * SECOND) == 100


def test_a_record_says_when_it_is_due() -> None:
    record = Record("x", restart="on-failure:1", started_ns=1, exited_ns=2, exit_status=1)
    record.next_run(1000 * SECOND)
    assert record.restart_ns == 1000 * SECOND + 100_000_000
    assert record.status() == "restarting"
    record.restarts = 1
    record.next_run(1000 * SECOND)
    assert (record.restart_ns, record.status()) == (0, "stopped")
    record = Record("x", restart="always", exit_status=0, stopped=True)
    record.next_run(5)
    assert record.restart_ns == 0


def test_which_signals_mean_the_end() -> None:
    plain: dict[str, str] = {}
    assert all(restarts.is_stop(one, plain) for one in (2, 3, 9, 15))
    assert not any(restarts.is_stop(one, plain) for one in (0, 1, 10, 12, 18, 28))
    for word, number in (("SIGUSR1", 10), ("usr1", 10), ("10", 10), ("SIGRTMIN+3", 37)):
        own = {restarts.STOP_SIGNAL: word}
        assert restarts.stop_signal(own) == number == (signal.SIGRTMIN + 3 if number > 31 else 10)
        assert restarts.is_stop(number, own)
    for word in ("", "SIGNOTHING", "RTMIN+", "99999", "RTMIN+99", "TERM+x"):
        assert restarts.stop_signal({restarts.STOP_SIGNAL: word}) == signal.SIGTERM


def test_who_starts_with_the_machine() -> None:
    started = {STATUS: "running"}
    stopped = {**started, EXPLICITLY_STOPPED: "true"}
    assert restarts.starts_at_boot({POLICY: "always", **stopped})
    assert restarts.starts_at_boot({POLICY: "unless-stopped", **started})
    assert not restarts.starts_at_boot({POLICY: "unless-stopped", **stopped})
    assert not restarts.starts_at_boot({POLICY: "always"})
    assert not restarts.starts_at_boot({POLICY: "on-failure", **started})
    assert not restarts.starts_at_boot(started)
    assert restarts.labels_at_start({}) == {}
    assert restarts.labels_at_start({POLICY: "always", **started}) == {}
    assert restarts.labels_at_start({POLICY: "always", **stopped}) == {EXPLICITLY_STOPPED: None}
    assert restarts.labels_at_start({POLICY: "always"}) == {STATUS: "running"}
