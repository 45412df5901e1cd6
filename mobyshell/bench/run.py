"""The whole bench: every measurement, and the page that it makes."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mobyshell.bench import keys, many, start
from mobyshell.bench.contest import Result, alternate
from mobyshell.bench.places import processes
from mobyshell.bench.workshop import Workshop, program, version, workshop
from mobyshell.core.errors import MobyshellError

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the page. `goal` is an upper bound for `ratio`; None where there is none.

    `value` and `peer` are what was measured, as text; `ratio` is ours divided by the peer's.
    """

    name: str
    value: str
    peer: str
    ratio: float | None
    goal: float | None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; None if there is none, or nothing to compare with."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio <= self.goal


@dataclass(slots=True)
class Bench:
    """What was measured, in order, and what could not be."""

    found: list[Measurement] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.2f} ms"


def run_all(rounds: int, number: int, say: Say) -> Bench:
    """Measure everything: `rounds` starts, `number` tasks at once. Root only."""
    bench = Bench()
    with workshop() as shop:
        _starts(shop, rounds, bench, say)
        say(f"starting {number} tasks")
        with many.running(shop, number):
            _memory(shop, number, bench, say)
            _lists(shop, number, max(rounds // 2, 5), bench, say)
            _screen(shop, number, bench, say)
    return bench


def _starts(shop: Workshop, rounds: int, bench: Bench, say: Say) -> None:
    say(f"create, start, wait and delete of /bin/true, {rounds} rounds")
    contestants, missing = start.contestants(shop, shop.with_args("true", "/bin/true"))
    bench.missing += missing
    result = alternate(contestants, rounds, warm_up=3)
    ours = contestants[0].name
    for other in contestants[1:]:
        goal = 0.6 if other.name == "runc run" else None
        bench.found.append(
            _compared("/bin/true in the default bundle", result, ours, other.name, goal)
        )


def _compared(name: str, result: Result, ours: str, peer: str, goal: float | None) -> Measurement:
    return Measurement(
        name,
        f"{_ms(result[ours].median)} (p10 {_ms(result[ours].tenth)})",
        f"{peer}: {_ms(result[peer].median)} (p10 {_ms(result[peer].tenth)})",
        result.ratio(ours, peer),
        goal,
    )


def _memory(shop: Workshop, number: int, bench: Bench, say: Say) -> None:
    say("memory of keeper and shim")
    ours = processes("tasks/shim.py", str(shop.state))
    total = many.resident(ours)
    name = f"memory per task, {number} tasks (PSS of keeper and shim / {number})"
    value = f"{total / number / 1024:.0f} KiB ({total / 2**20:.1f} MiB in all)"
    try:
        with many.containerd_shim(shop) as pids:
            peer = many.resident(pids)
    except MobyshellError as error:
        bench.missing.append(f"containerd's shim: {error}")
        bench.found.append(Measurement(name, value, "–", None, None))
        return
    text = f"one containerd-shim: {peer / 1024:.0f} KiB"
    bench.found.append(Measurement(name, value, text, total / number / peer, 1.0))


def _lists(shop: Workshop, number: int, rounds: int, bench: Bench, say: Say) -> None:
    say(f"listing {number} tasks")
    try:
        with many.peers(shop, number):
            result = alternate(many.listing(shop), rounds)
    except MobyshellError as error:
        bench.missing.append(f"runc list: {error}")
        return
    name = f"listing {number} as a process"
    bench.found.append(_compared(name, result, "mobyshell task ls", "runc list", 2.0))


def _screen(shop: Workshop, number: int, bench: Bench, say: Say) -> None:
    say("the workbench: keys and idling")
    with keys.Screen(shop) as screen:
        screen.quiet(1.0)
        screen.press(b"\x1bOQ")
        screen.spend(3)
        screen.quiet(0.3)
        # j and k move the cursor, so that there always is something to draw
        times = [screen.press(b"j" if turn % 2 == 0 else b"k") for turn in range(40)]
        before, seconds = screen.cpu_ns(), 10.0
        screen.spend(seconds)
        idle = (screen.cpu_ns() - before) / (seconds * 1e9)
    median = statistics.median(times)
    bench.found.append(
        Measurement(f"a key press until it is drawn, {number} tasks on the screen", _ms(median),
                    "50 ms", median / 50e6, 1.0)
    )  # fmt: skip
    bench.found.append(
        Measurement(f"the screen with {number} running tasks, nobody typing (measures once a second)",
                    f"{idle:.1%} of a core", "–", None, None)
    )  # fmt: skip
    with keys.Screen(shop, "--namespace", "empty") as screen:
        screen.quiet(1.5)
        before, seconds = screen.cpu_ns(), 10.0
        screen.spend(seconds)
        idle = (screen.cpu_ns() - before) / (seconds * 1e9)
    bench.found.append(
        Measurement("the screen idle, nothing running", f"{idle:.2%} of a core", "1% of a core",
                    idle / 0.01, 1.0)
    )  # fmt: skip


_MEDIANS = (
    "Medians; the peers take turns with us in the same run; a ratio is the median over the rounds of "
    "our time divided by the peer's in the same round. Numbers of different machines, or of different "
    "runs, do not compare."
)


def page(
    bench: Bench, title: str, command: str, peers: Sequence[str], note: str = _MEDIANS
) -> str:  # fmt: skip
    """The measurements as a page of Markdown. `command`: the words of the verb that made it;
    `note`: how the numbers came to be."""
    names = []
    for name in peers:
        try:
            names.append(version(program(name)))
        except MobyshellError:
            continue
    lines = [
        f"# {title}", "",
        f"Made by `mobyshell {command}`, as root. {note}", "",
        f"Linux {platform.release()}, {os.cpu_count()} processors, Python {platform.python_version()}; "
        + "; ".join(names) + ".", "",
        "| | mobyshell | peer | ratio | goal | |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in bench.found:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        goal = "" if one.goal is None else f"≤ {one.goal:.3g}"
        met = {True: "✓", False: "missed", None: ""}[one.met]
        peer = one.peer.replace("|", "\\|")  # a pipe of a shell is no column
        lines.append(f"| {one.name} | {one.value} | {peer} | {ratio} | {goal} | {met} |")
    if bench.missing:
        lines += ["", "Not measured:", "", *(f"- {one}" for one in bench.missing)]
    return "\n".join(lines) + "\n"
