"""How long a container takes: create, start, wait and delete of /bin/true."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

from mobyshell.bench.contest import Contestant
from mobyshell.bench.workshop import Workshop, must_run, program
from mobyshell.core.errors import MobyshellError


def contestants(shop: Workshop, bundle: Path) -> tuple[list[Contestant], list[str]]:
    """Ours through the library and a warm shim, then as a program, and every peer that works here:
    each runs `bundle` once.

    The second list says, a line each, which peers are missing and why.
    """
    numbers = count()

    def ours() -> None:
        id = f"b{next(numbers)}"
        shop.tasks.create(id, str(bundle))
        shop.tasks.start(id)
        status = shop.tasks.wait(id, timeout=30)
        shop.tasks.delete(id)
        if status != 0:
            raise MobyshellError(f"/bin/true exited with {status}")

    found = [Contestant("mobyshell (library, warm shim)", ours)]
    missing: list[str] = []
    for name, make in (
        ("mobyshell-runc", _oci), ("runc", _oci), ("crun", _oci), ("bwrap", _bubblewrap),
    ):  # fmt: skip
        try:
            ours_too = [sys.executable, "-m", "mobyshell.runc"]
            words = ours_too if name == "mobyshell-runc" else [program(name)]
            run = make(words, shop, str(bundle), numbers)
            run()
        except MobyshellError as error:
            missing.append(f"{name}: {error}")
        else:
            found.append(Contestant(f"{name} run" if make is _oci else name, run))
    return found, missing


def _oci(words: list[str], shop: Workshop, bundle: str, numbers: count[int]) -> Callable[[], None]:
    root = str(shop.directory / ("ours" if len(words) > 1 else "peers"))

    def run() -> None:
        must_run([*words, "--root", root, "run", "--bundle", bundle, f"p{next(numbers)}"])

    return run


def _bubblewrap(
    words: list[str], shop: Workshop, bundle: str, numbers: count[int]
) -> Callable[[], None]:
    """Less work than the others (no cgroups, no masked paths): near the floor for a process."""
    command = [
        *words, "--unshare-all", "--ro-bind", str(shop.bundle / "rootfs"), "/",
        "--proc", "/proc", "--dev", "/dev", "/bin/true",
    ]  # fmt: skip
    return lambda: must_run(command)
