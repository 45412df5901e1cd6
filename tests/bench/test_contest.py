"""The arithmetic of contests, on a clock that only the contestants move."""

from __future__ import annotations

from mobyshell.bench.contest import Contestant, alternate, in_a_row


class Stopwatch:
    def __init__(self) -> None:
        self.time = 0
        self.log: list[str] = []

    def contestant(self, name: str, costs: list[int]) -> Contestant:
        spent = iter(costs)

        def run() -> None:
            self.log.append(name)
            self.time += next(spent)

        return Contestant(name, run)


def test_medians_and_paired_ratio_without_the_warm_up_round() -> None:
    watch = Stopwatch()
    ours = watch.contestant("ours", [1000, 10, 20, 30])
    peer = watch.contestant("peer", [1, 20, 20, 120])

    result = alternate([ours, peer], 3, now=lambda: watch.time)

    assert result["ours"].times == (10, 20, 30)
    assert result["ours"].median == 20
    assert result["ours"].best == 10
    assert result["peer"].median == 20
    # per round: 0.5, 1.0, 0.25; the ratio of the medians would be 1.0
    assert result.ratio("ours", "peer") == 0.5


def test_every_round_runs_every_contestant_once_in_mixed_order() -> None:
    watch = Stopwatch()
    names = ["a", "b", "c"]
    alternate([watch.contestant(n, [1] * 20) for n in names], 20, warm_up=0, now=lambda: watch.time)

    rounds = [watch.log[i : i + 3] for i in range(0, 60, 3)]
    assert all(sorted(one) == names for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_progress_counts_up_to_the_rounds() -> None:
    watch = Stopwatch()
    seen: list[tuple[int, int]] = []
    alternate(
        [watch.contestant("a", [1, 1, 1])],
        2,
        now=lambda: watch.time,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_who_knows_its_own_time_is_believed() -> None:
    watch = Stopwatch()

    def run() -> int:
        watch.time += 100
        return 7

    result = alternate([Contestant("a", run)], 2, now=lambda: watch.time)
    assert result["a"].times == (7, 7)


def test_the_rest_before_each_run_is_not_counted() -> None:
    watch = Stopwatch()

    def rest() -> None:
        watch.log.append("rest")
        watch.time += 1000

    one = watch.contestant("a", [3, 3, 3])
    result = alternate([one], 2, now=lambda: watch.time, rest=rest)
    assert result["a"].times == (3, 3)
    assert watch.log == ["rest", "a"] * 3


def test_of_several_in_a_row_the_first_is_not_counted() -> None:
    spent = iter([1000, 10, 20, 30])
    assert in_a_row(Contestant("a", lambda: next(spent)), 3).run() == 20
    runs: list[int] = []
    took = in_a_row(Contestant("b", lambda: runs.append(1)), 4).run()
    assert len(runs) == 5
    assert took is not None
    assert took >= 0
