"""A store with thousands of images and containers: all of them listed, one of each looked up.

Against limits, and not against a peer: `containerd` answers the same over a socket, from its daemon's
memory. What is read is what `image ls` and `container ls` read.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from mobyshell.bench.run import Measurement
from mobyshell.core.oci import Descriptor, Digest, default_spec, spec_to_json
from mobyshell.core.store.containers import Container
from mobyshell.core.store.store import Namespace, Store

NUMBER = 10_000
_WARM = 3
_LIST_MS, _LOOKUP_MS, _GROWTH = 100, 5, 1.05


def measure_crowd(root: Path, number: int, rounds: int) -> Iterator[Measurement]:
    """Fill a store at `root` with `number` images and as many containers, and look at them."""
    with Store.open(root) as store:
        here = store.namespace("crowd")
        _fill(here, number)
        name, id = _names(number // 2)

        def images() -> None:
            assert len(here.images.list()) == number

        def containers() -> None:
            assert len(here.containers.list()) == number

        def looked_up() -> None:
            assert here.images.get(name).name == name
            assert here.containers.get(id).image == name

        for _ in range(_WARM):
            images()
            containers()
        before = psutil.Process().memory_info().rss
        crowd = f"of {number:,} images and as many containers"
        yield _against(f"{crowd}: all images listed", images, rounds, _LIST_MS)
        yield _against(f"{crowd}: all containers listed", containers, rounds, _LIST_MS)
        yield _against(f"{crowd}: one of each looked up", looked_up, 10 * rounds, _LOOKUP_MS)
        after = psutil.Process().memory_info().rss
        yield Measurement(
            f"{crowd}: memory after {rounds + _WARM} lists of both", f"{after / 2**20:.1f} MiB",
            f"after {_WARM}: {before / 2**20:.1f} MiB", after / before, _GROWTH,
        )  # fmt: skip


def _names(number: int) -> tuple[str, str]:
    return f"docker.io/crowd/image-{number:05}:latest", f"container-{number:05}"


def _fill(here: Namespace, number: int) -> None:
    spec = spec_to_json(default_spec())
    with here.scope.write():
        for one in range(number):
            name, id = _names(one)
            digest = Digest.of(name.encode())
            here.images.create(
                name, Descriptor(
                    media_type="application/vnd.oci.image.manifest.v1+json", digest=digest, size=1234
                ),
                {"io.example/crowd": str(one % 10)},
            )  # fmt: skip
            here.containers.create(
                Container(id, name, labels={"io.example/crowd": str(one % 10)}), spec
            )


def _against(name: str, look: Callable[[], None], rounds: int, limit_ms: int) -> Measurement:
    """The median time of looking, against the most it may take."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        look()
        times.append((time.perf_counter_ns() - start) / 1e6)
    median = statistics.median(times)
    return Measurement(name, f"{median:.2f} ms", f"at most: {limit_ms} ms", median / limit_ms, 1.0)
