"""The page and the plot of a comparison, from made-up times."""

from __future__ import annotations

from xml.etree import ElementTree

from mobyshell.bench.compare import Contest
from mobyshell.bench.contest import Result, Series
from mobyshell.bench.plot import page, plot

MS = 1_000_000
CONTEST = Contest(
    "exec of <true>",
    Result((
        Series("mobyshell (library, warm shim)", (2 * MS, 4 * MS, 3 * MS, 1 * MS)),
        Series("runc exec", (20 * MS, 20 * MS, 10 * MS, 10 * MS)),
    )),
    (("mobyshell (library, warm shim)", "runc exec", 0.2),
     ("runc exec", "mobyshell (library, warm shim)", None),
     ("mobyshell (library, warm shim)", "crun exec", 0.2)),
)  # fmt: skip


def test_quartiles_lie_around_the_median() -> None:
    ours, _ = CONTEST.result.series
    assert ours.quartiles == (1.75 * MS, 3.25 * MS)
    assert Series("once", (7,)).quartiles == (7, 7)


def test_the_page_has_medians_quartiles_goals_and_who_was_not_there() -> None:
    text = page([CONTEST], ["crun: not installed"])
    assert "| mobyshell (library, warm shim) | 2.50 | 1.75 – 3.25 | 1.00 | 4 |" in text
    assert "is 0.15 × runc exec (goal ≤ 0.2: met)" in text
    assert "\n- runc exec is 7.50 × mobyshell (library, warm shim)\n" in text
    assert "crun exec" not in text
    assert "- crun: not installed" in text


def test_the_plot_is_a_picture_with_a_bar_for_each() -> None:
    root = ElementTree.fromstring(plot([CONTEST, CONTEST]))
    names = [one.text for one in root.iter() if one.get("class") == "name"]
    assert names == [one.name for one in CONTEST.result.series] * 2
    bars = [float(one.get("width", "0")) for one in root.iter() if one.get("class") in
            ("ours", "peer")]  # fmt: skip
    assert len(bars) == 4
    assert bars[0] < bars[1]
    width = float(root.get("width", "0"))
    assert all(0 < bar < width for bar in bars)
