"""Images against containerd: imported, pulled, run; taking turns in one run.

Each turn begins with a store that does not have the image; what it takes to get rid of it again is
not timed. Both sides sync what they say is there, each as it does by default.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from mobyshell.bench.contest import Contestant, Result, alternate
from mobyshell.bench.engine import Containerd, containerd
from mobyshell.bench.field import field as make_field
from mobyshell.bench.field import small, take, write_layout
from mobyshell.bench.workshop import must_run
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.moby.client import Moby

OURS = "mobyshell"
_PROGRAM = str(Path(sys.executable).parent / "mobyshell")


@dataclass(slots=True)
class Measured:
    """One comparison. `cpu`: the median ratio of processor time, where it was taken."""

    name: str
    result: Result
    peer: str
    goal: float
    cpu: float | None = None

    @property
    def ratio(self) -> float:
        """The median of ours divided by theirs, turn by turn."""
        return self.result.ratio(OURS, self.peer)


@dataclass(slots=True)
class _Taken:
    """Processor time by contestant, turn by turn."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def ratio(self, peer: str) -> float:
        pairs = zip(self.seconds[OURS], self.seconds[peer], strict=True)
        return statistics.median(ours / max(theirs, 0.01) for ours, theirs in pairs)


def measure(rounds: int, say: Callable[[str], object], *, scale: float = 1.0) -> Iterator[Measured]:
    """Measure all; `scale` makes the images smaller, for trying it out."""
    with ExitStack() as stack:
        place = stack.enter_context(make_field())
        say("making images of this machine's files")
        archives = _archives(place, scale)
        engine = stack.enter_context(containerd(place / "containerd"))
        # in memory, as /run is; and so that nobody who lingers there keeps the disk
        state = Path(stack.enter_context(TemporaryDirectory(prefix="mobyshell-", dir="/dev/shm")))
        root = place / "root"
        os.environ["MOBYSHELL_ROOT"], os.environ["MOBYSHELL_STATE"] = str(root), str(state)
        for name, (archive, goal) in archives.items():
            say(f"import of {name}, {rounds} rounds")
            yield _imports(engine, name, archive, goal, rounds)
        say(f"run of an image, {10 * rounds} rounds")
        yield _runs(engine, place, root, state, 10 * rounds)


def _archives(place: Path, scale: float) -> dict[str, tuple[Path, float]]:
    trees = place / "trees"
    for name in ("base", "second", "third", "small"):
        (trees / name).mkdir(parents=True)
    take(trees / "base", int(8700 * scale), int((170 << 20) * scale), largest=8 << 20)
    take(trees / "second", int(6000 * scale), int((150 << 20) * scale), begin=9000, largest=8 << 20)
    take(trees / "third", int(200 * scale) + 1, int((60 << 20) * scale), begin=15000)
    small(trees / "small", int(10_000 * scale))
    layered = [trees / name for name in ("base", "second", "small", "third")]
    return {
        "one layer, 8.7k files": (
            write_layout(place / "one", [trees / "base"], "docker.io/bench/one:1"), 0.4),
        "four layers": (write_layout(place / "four", layered, "docker.io/bench/four:1"), 0.4),
        "10k small files": (
            write_layout(place / "many", [trees / "small"], "docker.io/bench/many:1"), 0.6),
    }  # fmt: skip


def _imports(engine: Containerd, name: str, archive: Path, goal: float, rounds: int) -> Measured:
    taken = _Taken({OURS: [], "ctr": []})
    image = f"docker.io/bench/{archive.stem}:1"

    def ours() -> int:
        before, begun = _children(), time.perf_counter_ns()
        must_run([_PROGRAM, "image", "import", str(archive)])
        spent = time.perf_counter_ns() - begun
        taken.seconds[OURS].append(_children() - before)
        must_run([_PROGRAM, "image", "rm", image])
        return spent

    def theirs() -> int:
        before, begun = engine.cpu() + _children(), time.perf_counter_ns()
        must_run([*engine.words, "images", "import", str(archive)])
        spent = time.perf_counter_ns() - begun
        taken.seconds["ctr"].append(engine.cpu() + _children() - before)
        must_run([*engine.words, "images", "rm", "--sync", image])
        return spent

    result = alternate([Contestant(OURS, ours), Contestant("ctr", theirs)], rounds)
    for one in taken.seconds.values():
        del one[: len(one) - rounds]  # without the warming up
    return Measured(f"import and unpack: {name}", result, "ctr", goal, taken.ratio("ctr"))


def _runs(engine: Containerd, place: Path, root: Path, state: Path, rounds: int) -> Measured:
    bundle = new_bundle(place / "bundle", "busybox")
    archive = write_layout(place / "box", [bundle / "rootfs"], "docker.io/bench/box:1")
    must_run([*engine.words, "images", "import", str(archive)])
    numbers = iter(range(1 << 30))
    command = [*engine.words, "run", "--rm", "docker.io/bench/box:1"]
    with Moby(root, state, "bench") as moby:
        moby.import_images(archive)
        image = moby.image("docker.io/bench/box:1")

        def ours() -> None:
            assert moby.run(image, ["/bin/true"]).status == 0

        def theirs() -> None:
            subprocess.run([*command, f"c{next(numbers)}", "/bin/true"], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)  # fmt: skip

        result = alternate([Contestant(OURS, ours), Contestant("ctr run --rm", theirs)], rounds)
        image.delete()
    must_run([*engine.words, "images", "rm", "--sync", "docker.io/bench/box:1"])
    return Measured("moby.run(image, [true]), warm", result, "ctr run --rm", 0.1)


def _children() -> float:
    """Seconds of processor time of the processes that we have waited for."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime
