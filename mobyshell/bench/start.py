"""How long a container takes: create, start, wait and delete of /bin/true."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

from mobyshell.bench.contest import Contestant
from mobyshell.bench.peers import Peer, peers
from mobyshell.bench.workshop import Workshop, program
from mobyshell.core.errors import MobyshellError

LIBRARY = "mobyshell (library, warm shim)"


def contestants(shop: Workshop, bundle: Path) -> tuple[list[Contestant], list[str]]:
    """Ours through the library and a warm shim, then as a program, and every peer that works here:
    each runs `bundle` once.

    The second list says, a line each, which peers are missing and why, and what is special.
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

    found = [Contestant(LIBRARY, ours)]
    runtimes, notes = peers(shop)
    for peer in runtimes:
        add(found, notes, f"{peer.name} run", partial(_run, peer, bundle, numbers))
    notes += [peer.note for peer in runtimes if peer.note]
    add(found, notes, "bwrap", partial(_bubblewrap, shop))
    return found, notes


def add(
    found: list[Contestant], missing: list[str], name: str, run: Callable[[], int | None]
) -> None:
    """Add a contestant, if it can do the job once; else say why not."""
    try:
        run()
    except MobyshellError as error:
        missing.append(f"{name}: {error}")
    else:
        found.append(Contestant(name, run))


def _run(peer: Peer, bundle: Path, numbers: count[int]) -> int:
    return peer("run", "--bundle", str(bundle), f"p{next(numbers)}")


def _bubblewrap(shop: Workshop) -> int:
    """Less work than the others (no cgroups, no masked paths): near the floor for a process."""
    return shop.stand.run([
        program("bwrap"), "--unshare-all", "--ro-bind", str(shop.bundle / "rootfs"), "/",
        "--proc", "/proc", "--dev", "/dev", "/bin/true",
    ])  # fmt: skip
