"""Images against containerd: imported, pulled, run; taking turns in one run.

Each turn begins with a store that does not have the image; what it takes to get rid of it again is
not timed. Both sides sync what they say is there, each as it does by default.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from mobyshell.bench import layers
from mobyshell.bench.contest import Contestant, Result, alternate
from mobyshell.bench.crowd import NUMBER, measure_crowd
from mobyshell.bench.engine import Containerd, containerd, distribution
from mobyshell.bench.field import field as make_field
from mobyshell.bench.field import small, take, write_layout
from mobyshell.bench.layers import compare_unpacking
from mobyshell.bench.places import place as new_place
from mobyshell.bench.run import Bench, Measurement
from mobyshell.bench.workshop import must_run
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.moby.client import Moby

OURS, PEER = "mobyshell", "ctr"
_UNPACKER = "igzip | tar -x"
_PROGRAM = str(Path(sys.executable).parent / "mobyshell")


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class _Sides:
    """`words`: our program, on a store of its own."""

    words: tuple[str, ...]
    engine: Containerd


@dataclass(frozen=True, slots=True)
class _Taken:
    """Processor time by contestant, turn by turn."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def ratio(self, peer: str) -> float:
        pairs = zip(self.seconds[OURS], self.seconds[peer], strict=True)
        return statistics.median(ours / max(theirs, 0.01) for ours, theirs in pairs)


def measure_all(rounds: int, scale: float, say: Callable[[str], object]) -> Bench:
    """Measure all, as lines of a page. `scale` makes the images smaller, for trying it out.

    Unsupported where a peer is not installed. Root only.
    """
    bench = Bench()
    for one in _measure(rounds, scale, say):
        if isinstance(one, Measurement):
            bench.found.append(one)
            continue
        ours, theirs = (one.result[name].median / 1e6 for name in (OURS, one.peer))
        bench.found.append(Measurement(one.name, f"{ours:.1f} ms", f"{one.peer}: {theirs:.1f} ms",
                                       one.ratio, one.goal))  # fmt: skip
        if one.cpu is not None:
            bench.found.append(
                Measurement(f"{one.name}: processor time", "", one.peer, one.cpu, None)
            )
    return bench


def _measure(rounds: int, scale: float, say: Callable[[str], object]
) -> Iterator[Measured | Measurement]:  # fmt: skip
    with ExitStack() as stack:
        place = stack.enter_context(make_field())
        say("making images of this machine's files")
        archives = _archives(place, scale)
        say(f"unpacking of one layer, {3 * rounds} rounds")
        yield _unpacks(place, archives["one layer, 8.7k files"][0], 3 * rounds)
        engine = stack.enter_context(containerd(place / "containerd"))
        # in memory, as /run is; and so that nobody who lingers there keeps the disk
        state = stack.enter_context(new_place("state", "/dev/shm"))
        root = place / "root"
        sides = _Sides((_PROGRAM, "--root", str(root), "--state", str(state)), engine)
        for name, (archive, goal) in archives.items():
            say(f"import of {name}, {rounds} rounds")
            yield _imports(sides, name, archive, goal, rounds)
        registry = stack.enter_context(distribution(place / "registry"))
        say(f"pull of four layers, {rounds} rounds")
        yield _pulls(sides, registry, archives["four layers"][0], rounds)
        say(f"run of an image, {10 * rounds} rounds")
        yield _runs(engine, place, root, state, 10 * rounds)
        say("a crowd of images and containers")
        yield from measure_crowd(place / "crowd", int(NUMBER * scale), 5 * rounds)


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


def _unpacks(place: Path, archive: Path, rounds: int) -> Measured:
    """The layer of an archive, with the digests of what is compressed and of what is not, against two
    programs that only unpack."""
    blob, trees = place / "blob", place / "unpacked"
    trees.mkdir()
    with tarfile.open(archive) as layout:
        largest = max((one for one in layout if one.isreg()), key=lambda one: one.size)
        content = layout.extractfile(largest)
        assert content is not None
        with open(blob, "wb") as file:
            shutil.copyfileobj(content, file)
    result = compare_unpacking(blob, trees, rounds)
    blob.unlink()
    name = "unpack one layer, both digests"
    named = Result(tuple(replace(one, name=_UNPACKER if one.name == layers.PEER else OURS)
                         for one in result.series))  # fmt: skip
    return Measured(name, named, _UNPACKER, 1.15)


def _imports(sides: _Sides, name: str, archive: Path, goal: float, rounds: int) -> Measured:
    image = f"docker.io/bench/{archive.stem}:1"
    ours, theirs = ["import", str(archive)], ["import", str(archive)]
    return _fetches(sides, f"import and unpack: {name}", image, ours, theirs, goal, rounds)


def _pulls(sides: _Sides, registry: str, archive: Path, rounds: int) -> Measured:
    image, kept = f"{registry}/bench/four:1", f"docker.io/bench/{archive.stem}:1"
    must_run([*sides.words, "image", "import", str(archive)])
    must_run([*sides.words, "image", "tag", kept, image])
    must_run([*sides.words, "image", "push", image])
    must_run([*sides.words, "image", "rm", image, kept])
    ours, theirs = ["pull", image], ["pull", "--plain-http", image]
    name = "pull and unpack: four layers, from this machine"
    return _fetches(sides, name, image, ours, theirs, 0.5, rounds)


def _fetches(sides: _Sides, name: str, image: str, ours: list[str], theirs: list[str],
             goal: float, rounds: int) -> Measured:  # fmt: skip
    """What brings `image`, by the words of both; it is removed after each turn."""
    engine = sides.engine
    taken = _Taken({OURS: [], PEER: []})

    def our_turn() -> int:
        before, begun = _children(), time.perf_counter_ns()
        must_run([*sides.words, "image", *ours])
        spent = time.perf_counter_ns() - begun
        taken.seconds[OURS].append(_children() - before)
        must_run([*sides.words, "image", "rm", image])
        return spent

    def their_turn() -> int:
        before, begun = engine.cpu() + _children(), time.perf_counter_ns()
        must_run([*engine.words, "images", *theirs])
        spent = time.perf_counter_ns() - begun
        taken.seconds[PEER].append(engine.cpu() + _children() - before)
        must_run([*engine.words, "images", "rm", "--sync", image])
        return spent

    result = alternate([Contestant(OURS, our_turn), Contestant(PEER, their_turn)], rounds)
    for one in taken.seconds.values():
        del one[: len(one) - rounds]  # without the warming up
    return Measured(name, result, PEER, goal, taken.ratio(PEER))


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
