"""The comparison: everything on this machine that starts a container, doing the same in turns.

Three contests: a container's whole life, one more process in a running container, and a batch of
containers from one process. A contestant that is not installed, or fails, is named with its reason.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from mobyshell.bench.contest import Contestant, Result, alternate
from mobyshell.bench.start import contestants
from mobyshell.bench.workshop import Workshop, must_run, program, workshop
from mobyshell.bench.yardstick import yardstick
from mobyshell.core.errors import MobyshellError

Say = Callable[[str], None]
LIBRARY = "mobyshell (library, warm shim)"
OURS = "mobyshell-runc"


@dataclass(frozen=True, slots=True)
class Contest:
    """One table: what was done, by whom, how long it took; `goals` are (contestant, peer, ratio)."""

    title: str
    result: Result
    goals: tuple[tuple[str, str, float], ...] = ()


@dataclass(slots=True)
class Comparison:
    """All contests, and who could not take part."""

    contests: list[Contest] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def compare(rounds: int, batch: int, say: Say) -> Comparison:
    """Run the contests: `rounds` turns of each, batches of `batch` containers. Root only."""
    done = Comparison()
    with workshop() as shop:
        bundle = shop.with_args("true", "/bin/true")
        say(f"a container's life, {rounds} rounds")
        runners, missing = contestants(shop, bundle)
        done.missing += missing
        _try(runners, done, "the plan in C", lambda: yardstick(shop, bundle))
        done.contests.append(
            Contest(
                "create, start, wait and delete of /bin/true", alternate(runners, rounds, warm_up=3),
                ((LIBRARY, "crun run", 0.4), (LIBRARY, "the plan in C", 1.2),
                 (LIBRARY, "runc run", 0.6), (f"{OURS} run", "runc run", 0.6)),
            )
        )  # fmt: skip
        say(f"one more process in a running container, {rounds} rounds")
        with _execs(shop, done) as executors:
            done.contests.append(
                Contest(
                    "exec of /bin/true", alternate(executors, rounds, warm_up=3),
                    ((LIBRARY, "crun exec", 0.2), (f"{OURS} exec", "runc exec", 0.6)),
                )
            )  # fmt: skip
        say(f"batches of {batch} containers")
        starters = _batches(shop, batch, done)
        done.contests.append(
            Contest(
                f"{batch} containers started and left running, one after the other",
                alternate(starters, 3, warm_up=0), ((LIBRARY, "crun run -d", 0.5),),
            )
        )  # fmt: skip
    return done


def _try(
    found: list[Contestant], done: Comparison, name: str, make: Callable[[], Callable[[], None]]
) -> None:
    """Add a contestant, if it can do the job once."""
    try:
        run = make()
        run()
    except MobyshellError as error:
        done.missing.append(f"{name}: {error}")
    else:
        found.append(Contestant(name, run))


def _binaries() -> dict[str, list[str]]:
    """The command of every OCI runtime here, ours included."""
    found = {OURS: [sys.executable, "-m", "mobyshell.runc"]}
    for name in ("runc", "crun"):
        try:
            found[name] = [program(name)]
        except MobyshellError:
            continue
    return found


@contextmanager
def _execs(shop: Workshop, done: Comparison) -> Iterator[list[Contestant]]:
    """Those who can start a process in a container, each with one of its own."""
    bundle = shop.with_args("idle", "/bin/sleep", "100000")
    numbers = count()
    shop.tasks.create("idle", str(bundle))
    shop.tasks.start("idle")

    def ours() -> None:
        name = f"e{next(numbers)}"
        shop.tasks.exec("idle", ["/bin/true"], exec_id=name)
        shop.tasks.wait("idle", exec_id=name, timeout=30)

    found = [Contestant(LIBRARY, ours)]
    roots = {name: [*words, "--root", str(shop.directory / f"exec-{name}")]
             for name, words in _binaries().items()}  # fmt: skip
    begun = []
    try:
        for name, words in roots.items():

            def one(words: list[str] = words, name: str = name) -> Callable[[], None]:
                must_run([*words, "run", "-d", "--bundle", str(bundle), "idle"])
                begun.append(words)
                return lambda: must_run([*words, "exec", "idle", "/bin/true"])

            _try(found, done, f"{name} exec", one)
        yield found
    finally:
        shop.tasks.delete("idle", force=True)
        for words in begun:
            must_run([*words, "delete", "--force", "idle"])


def _batches(shop: Workshop, batch: int, done: Comparison) -> list[Contestant]:
    """Those who can start many; what they started is deleted within their time, too."""
    bundle = shop.with_args("many", "/bin/sleep", "100000")

    def ours(number: int = batch) -> None:
        ids = [f"m{index}" for index in range(number)]
        try:
            for id in ids:
                shop.tasks.create(id, str(bundle))
                shop.tasks.start(id)
        finally:
            for id in ids:
                shop.tasks.delete(id, force=True)

    found = [Contestant(LIBRARY, ours)]
    for name, words in _binaries().items():
        if name == OURS:
            continue
        command = [*words, "--root", str(shop.directory / f"many-{name}")]

        def theirs(number: int = batch, command: list[str] = command) -> None:
            ids = [f"m{index}" for index in range(number)]
            try:
                for id in ids:
                    must_run([*command, "run", "-d", "--bundle", str(bundle), id])
            finally:
                for id in ids:
                    must_run([*command, "delete", "--force", id])

        try:
            theirs(1)
        except MobyshellError as error:
            done.missing.append(f"{name} run -d: {error}")
        else:
            found.append(Contestant(f"{name} run -d", theirs))
    return found


def write(directory: Path, comparison: Comparison) -> None:
    """The table and the plot, as compare.md and compare.svg in `directory`."""
    from mobyshell.bench.plot import page, plot

    (directory / "compare.svg").write_text(plot(comparison.contests))
    (directory / "compare.md").write_text(page(comparison.contests, comparison.missing))
