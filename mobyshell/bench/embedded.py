"""The runtime as a program has it that embeds it: in its own process, without a shim.

Nobody else waits for its containers, keeps their output or knows of them; otherwise it is what the
shim uses. The process that does this has one thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from signal import SIGKILL

from mobyshell.bench.workshop import Workshop
from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import load_spec
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.launch import Stdio
from mobyshell.core.runtime.steps import run

EMBEDDED = "mobyshell (library, no shim)"


@contextmanager
def _runtime(shop: Workshop) -> Iterator[tuple[Runtime, Stdio]]:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    runtime = Runtime(shop.directory / "embedded", ushers=True)
    try:
        yield runtime, Stdio(null, null, null)
    finally:
        while runtime.rest(0) or runtime.rest_ahead(0):  # what is still being made ahead goes, too
            time.sleep(0.001)
        os.close(null)


@contextmanager
def executing(shop: Workshop, idle: Path, args: list[str]) -> Iterator[Callable[[], None]]:
    """What executes `args` once more in a container of bundle `idle`, and waits for it."""
    with _runtime(shop) as (runtime, stdio):
        process = load_spec(shop.with_args("executed", *args)).process
        assert process is not None

        def execute() -> None:
            made = run(runtime.exec("idle", process, stdio=stdio))
            ended = os.waitid(os.P_PIDFD, made.pidfd, os.WEXITED)
            os.close(made.pidfd)
            if ended is None or ended.si_status != 0:
                raise MobyshellError(f"{args[0]} failed")

        container = run(runtime.create("idle", str(idle), stdio=stdio))
        try:
            os.close(container.pidfd)
            run(runtime.start("idle"))
            yield execute
        finally:
            run(runtime.kill("idle", SIGKILL))
            run(runtime.wait("idle"))  # it is our child
            run(runtime.delete("idle"))


@contextmanager
def living(shop: Workshop, bundle: Path) -> Iterator[Callable[[], None]]:
    """What creates, starts, awaits and deletes a container of `bundle`."""
    numbers = count()
    with _runtime(shop) as (runtime, stdio):

        def live() -> None:
            id = f"c{next(numbers)}"
            container = run(runtime.create(id, str(bundle), stdio=stdio))
            os.close(container.pidfd)
            run(runtime.start(id))
            status = run(runtime.wait(id))
            run(runtime.delete(id))
            runtime.foresee()
            if status != 0:
                raise MobyshellError(f"the program of {bundle} exited with {status}")

        yield live
