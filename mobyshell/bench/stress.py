"""`bench stress`: containers come and go for a while, by several workers, in the manner of
containerd-stress and ctr-powertest; then nothing may be left, and the store must be sound.

Owns the place (private directories, gone at the end, also after Ctrl-C) and the verdict. What a
worker does is `stress_hand`'s, what may not be left `leaks`'s.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mobyshell.bench.crew import Crew, Hand
from mobyshell.bench.engine import distribution
from mobyshell.bench.field import write_layout
from mobyshell.bench.leaks import leaks
from mobyshell.bench.places import place
from mobyshell.bench.tally import Line, tally
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.moby.client import Moby

NAMESPACE = "stress"
IMAGE = "bench/stress:1"
_LINGER = "0.5"


@dataclass(slots=True)
class Verdict:
    """What was done, what failed by (operation, reason), and what was left behind."""

    lines: list[Line] = field(default_factory=list)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def sound(self) -> bool:
        """Whether nothing failed and nothing was left."""
        return not self.failures and not self.leaks


def stress(
    seconds: float, workers: int, say: Callable[[str], object], *, pull: bool = False
) -> Verdict:  # fmt: skip
    """Stress the library, its shim and its store for so long. `pull`: each container's image comes
    from a registry, and is removed after it. Ctrl-C ends it early. Root only."""
    verdict = Verdict()
    with _place() as place:
        prefix = f"stress{os.getpid()}"
        with ExitStack() as stack:
            image = _image(place, stack, workers if pull else 0)
            common = {
                "root": str(place / "root"), "state": str(place / "state"), "namespace": NAMESPACE,
                "image": image, "pull": pull, "seconds": seconds,
            }  # fmt: skip
            jobs = [
                # a tag for each, of the same content: what one removes another is just fetching
                {**common, "prefix": f"{prefix}w{number}", "tag": f"t{number}"}
                for number in range(workers)
            ]
            say(f"{workers} workers, {seconds:g} s")
            _account(verdict, _hands(jobs, verdict))
        say("looking for what is left")
        verdict.leaks += leaks(place, place / "root", place / "state", NAMESPACE, prefix)
    return verdict


def _hands(jobs: list[dict[str, object]], verdict: Verdict) -> list[Hand]:
    try:
        with Crew("mobyshell.bench.stress_hand", jobs) as crew:
            try:
                return crew.run()
            except KeyboardInterrupt:
                verdict.interrupted = True
                return crew.stop()
    except KeyboardInterrupt:  # before all were there, or again: what they had in hand is lost
        verdict.interrupted = True
        return []


def _account(verdict: Verdict, hands: list[Hand]) -> None:
    if not hands:
        return
    names = dict.fromkeys(
        name for one in hands for name in (*one.times, *(w for w, _ in one.errors))
    )
    names.pop("all", None)
    verdict.lines += tally([hands], list(names))
    for hand in hands:
        verdict.failures += hand.errors


@contextmanager
def _place() -> Iterator[Path]:
    """A directory of its own, and a shim that does not linger; both gone at the end, with whatever
    was left in them."""
    before = os.environ.get("MOBYSHELL_LINGER")
    os.environ["MOBYSHELL_LINGER"] = _LINGER
    try:
        with place("stress") as directory:
            yield directory
    finally:
        if before is None:
            del os.environ["MOBYSHELL_LINGER"]
        else:
            os.environ["MOBYSHELL_LINGER"] = before


def _image(place: Path, stack: ExitStack, tags: int) -> str:
    """Make the image, and have it where workers find it: in the store, or in a registry, with so
    many tags. Its name."""
    tree = new_bundle(place / "bundle", "busybox") / "rootfs"
    host = stack.enter_context(distribution(place / "registry")) if tags else "docker.io"
    name = f"{host}/{IMAGE}"
    archive = write_layout(place / "layout", [tree], name)
    with Moby(place / "root", place / "state", NAMESPACE) as moby:
        moby.import_images(archive)
        for number in range(tags):
            moby.push(name, f"{name.rpartition(':')[0]}:t{number}")
        if tags:
            moby.image(name).delete()
    return name
