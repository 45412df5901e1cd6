"""A comparison on paper: a table in Markdown, bars in SVG. Pure."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from mobyshell.bench.compare import Contest

_WIDTH, _LEFT, _ROW, _TITLE = 860, 260, 26, 44


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.2f}"


def page(contests: Sequence[Contest], missing: Sequence[str]) -> str:
    """The contests as tables: medians with quartiles, and the goals that were set."""
    lines = [
        "# Comparison", "",
        "Made by `mobyshell bench compare --write docs`, as root: the contestants take turns in one "
        "run. Milliseconds; a ratio is the median over the rounds of one's time divided by the "
        "other's in the same round. Numbers of different machines, or runs, do not compare.", "",
        f"Linux {platform.release()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}.", "", "![The medians as bars](compare.svg)",
    ]  # fmt: skip
    for contest in contests:
        lines += ["", f"## {contest.title}", *(("", contest.note) if contest.note else ()), "",
                  "| | median | quartiles | best | rounds |",
                  "|---|---|---|---|---|"]  # fmt: skip
        for one in contest.result.series:
            low, high = one.quartiles
            lines.append(
                f"| {one.name} | {_ms(one.median)} | {_ms(low)} – {_ms(high)} | {_ms(one.best)} "
                f"| {len(one.times)} |"
            )
        names = {one.name for one in contest.result.series}
        lines.append("")
        for ours, peer, goal in contest.goals:
            if {ours, peer} <= names:
                ratio = contest.result.ratio(ours, peer)
                met = ""
                if goal is not None:
                    met = f" (goal ≤ {goal:g}: {'met' if ratio <= goal else 'missed'})"
                lines.append(f"- {ours} is {ratio:.2f} × {peer}{met}")
    if missing:
        lines += ["", "Not there, or treated specially:", "", *(f"- {one}" for one in missing)]
    return "\n".join(lines) + "\n"


def plot(contests: Sequence[Contest]) -> str:
    """The medians as bars with their quartiles, each contest on a scale of its own."""
    body: list[str] = []
    top = 8
    for contest in contests:
        body.append(
            f'<text x="12" y="{top + 20}" class="title">{escape(contest.title)} (ms)</text>'
        )
        top += _TITLE - 12
        series = contest.result.series
        scale = (_WIDTH - _LEFT - 110) / max(one.quartiles[1] for one in series)
        for one in series:
            low, high = (_LEFT + edge * scale for edge in one.quartiles)
            length, middle = one.median * scale, top + _ROW / 2
            kind = "ours" if one.name.startswith("mobyshell") else "peer"
            body += [
                f'<text x="{_LEFT - 10}" y="{middle + 4}" class="name">{escape(one.name)}</text>',
                f'<rect x="{_LEFT}" y="{top + 4}" width="{length:.1f}" height="{_ROW - 8}" '
                f'class="{kind}"/>',
                f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8'
                f'M{high:.1f} {middle - 4}v8" class="spread"/>',
                f'<text x="{max(high, _LEFT + length) + 8:.1f}" y="{middle + 4}">'
                f"{_ms(one.median)}</text>",
            ]
            top += _ROW
        top += 12
    style = (
        "text{font:13px sans-serif;fill:#334}.title{font-weight:600}.name{text-anchor:end}"
        ".ours{fill:#2f81f7}.peer{fill:#9aa4b2}.spread{stroke:#334;fill:none}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}"><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n'
    )
