"""A hundred running tasks: memory per task, listing them, and the screen that shows them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from mobyshell.bench.contest import Contestant
from mobyshell.bench.engine import containerd
from mobyshell.bench.places import processes
from mobyshell.bench.workshop import Workshop, must_run, program
from mobyshell.core.errors import MobyshellError


@contextmanager
def running(shop: Workshop, number: int) -> Iterator[None]:
    """`number` sleeping tasks in the shop's state root, deleted at the end."""
    bundle = shop.directory / "sleep"
    if not bundle.exists():
        shop.with_args("sleep", "/bin/sleep", "100000")
    ids = [f"t{index:03}" for index in range(number)]
    made: list[str] = []
    try:
        for id in ids:
            shop.tasks.create(id, str(bundle))
            made.append(id)
            shop.tasks.start(id)
        yield
    finally:
        for id in made:
            shop.tasks.delete(id, force=True)


def resident(pids: list[int]) -> int:
    """Proportional set size of `pids` together, bytes. ProcessLookupError if one is gone."""
    try:
        return sum(psutil.Process(pid).memory_full_info().pss for pid in pids)
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(str(error)) from None


@contextmanager
def containerd_shim(shop: Workshop) -> Iterator[list[int]]:
    """One real containerd with one running task, in private directories; the pids of its shim."""
    with containerd(shop.directory / "containerd") as engine:
        rootfs = str(shop.bundle / "rootfs")
        try:
            must_run([*engine.words, "run", "-d", "--rootfs", rootfs, "k", "/bin/sleep", "100000"])
            yield processes("containerd-shim", engine.address)
        finally:
            engine.remove("k")


@contextmanager
def peers(shop: Workshop, number: int) -> Iterator[None]:
    """`number` sleeping containers of runc."""
    runc, root = program("runc"), str(shop.directory / "runc")
    bundle = str(shop.directory / "sleep")
    ids = [f"r{index:03}" for index in range(number)]
    try:
        for id in ids:
            # to /dev/null, not a pipe: a detached container keeps its standard streams
            done = subprocess.run(
                [runc, "--root", root, "run", "-d", "--bundle", bundle, id],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                check=False,
            )  # fmt: skip
            if done.returncode != 0:
                raise MobyshellError(f"runc run -d exited with {done.returncode}")
        yield
    finally:
        for id in ids:
            subprocess.run([runc, "--root", root, "delete", "--force", id], capture_output=True,
                           check=False)  # fmt: skip


def listing(shop: Workshop) -> list[Contestant]:
    """`task ls` as a process against `runc list`, over what runs now."""
    runc, root = program("runc"), str(shop.directory / "runc")
    ours = [str(Path(sys.executable).parent / "mobyshell"), "--state", str(shop.state),
            "--namespace", "bench", "task", "ls"]  # fmt: skip
    return [
        Contestant("mobyshell task ls", lambda: must_run(ours)),
        Contestant("runc list", lambda: must_run([runc, "--root", root, "list"])),
    ]
