"""Unpacking one layer, against programs that do nothing else: `igzip | tar -x`, near the limit of
what the machine can do (they neither hash nor check what they unpack).

    python -m mobyshell.bench.layers BLOB… [--rounds N] [--in DIRECTORY]

DIRECTORY is best on a file system with a journal, or in memory: ext4 without a journal avoids the
inodes that were freed a moment ago, which takes longer than unpacking.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mobyshell.bench.contest import Contestant, Result, alternate
from mobyshell.bench.workshop import program
from mobyshell.core.linux.trees import remove_tree
from mobyshell.core.store.layers import Compression, LayerWorker, Region
from mobyshell.core.store.layers.compression import detect

OURS, PEER = "mobyshell", "tar"

_DECODERS = {Compression.GZIP: "igzip", Compression.ZSTD: "zstd"}


def compare_unpacking(
    blob: str | os.PathLike[str],
    place: Path,
    rounds: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Unpack `blob` in turns, each time into a new directory in `place`: `OURS` with both digests, by
    a worker that has started, and `PEER`. Removing the trees is not counted.

    Unsupported where a program is missing; the errors of `LayerWorker.apply`.
    """
    with LayerWorker() as worker, open(blob, "rb") as file:
        pipe = _pipe(os.fspath(blob), detect(os.pread(file.fileno(), 6, 0)))

        def ours(tree: Path) -> None:
            fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                worker.apply(Region(file.fileno()), fd)
            finally:
                os.close(fd)

        def theirs(tree: Path) -> None:
            subprocess.run(["sh", "-c", f"{pipe} -C {shlex.quote(str(tree))}"], check=True)

        contestants = (
            Contestant(OURS, lambda: _timed(place, ours)),
            Contestant(PEER, lambda: _timed(place, theirs)),
        )
        return alternate(contestants, rounds, progress=progress)


def _pipe(blob: str, kind: Compression) -> str:
    tar = f"{program('tar')} -x"
    if kind is Compression.NONE:
        return f"{tar} -f {shlex.quote(blob)}"
    return f"{program(_DECODERS[kind])} -dc {shlex.quote(blob)} | {tar}"


def _timed(place: Path, unpack: Callable[[Path], None]) -> int:
    tree = Path(tempfile.mkdtemp(prefix="layer-", dir=place))
    try:
        start = time.perf_counter_ns()
        unpack(tree)
        return time.perf_counter_ns() - start
    finally:
        remove_tree(tree)


def main(argv: list[str] | None = None) -> None:
    """Print a line for each blob."""
    parser = argparse.ArgumentParser(prog="python -m mobyshell.bench.layers")
    parser.add_argument("blobs", nargs="+", metavar="BLOB")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--in", dest="place", type=Path, default=Path(tempfile.gettempdir()))
    words = parser.parse_args(argv)
    for blob in words.blobs:
        result = compare_unpacking(blob, words.place, words.rounds)
        ours, peer = (result[name].median / 1e9 for name in (OURS, PEER))
        ratio = result.ratio(OURS, PEER)
        print(f"{os.path.basename(blob)}: {ours:.3f} s, tar {peer:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
