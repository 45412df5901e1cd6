"""A container's whole life, as a program: what `test_containers` kills at every step.

python -m tests.faults.living ROOT STATE     prints each step that is over
"""

from __future__ import annotations

import sys
from contextlib import suppress

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.moby.client import Moby
from mobyshell.moby.container import (
    with_image,
    with_new_snapshot,
    with_new_spec,
    with_snapshot_cleanup,
)
from mobyshell.moby.spec_options import with_image_config
from tests.faults.scenes import BASE

STATES = {"created", "running", "paused", "stopped"}


def live(root: str, state: str) -> None:
    """Create, start, exec, kill, delete."""
    with Moby(root, state, "demo") as moby:
        image = moby.image(BASE)
        box = moby.new_container(
            "box", with_image(image), with_new_snapshot("box", image),
            with_new_spec(with_image_config("sleep", "1000")),
        )  # fmt: skip
        task = box.new_task()
        print("created", flush=True)
        task.start()
        print("started", flush=True)
        assert task.exec(["sh", "-c", "exit 7"]).wait().result(60) == 7
        print("executed", flush=True)
        assert task.delete(force=True) == 137
        box.delete(with_snapshot_cleanup)
        print("deleted", flush=True)


def clear(root: str, state: str) -> list[str]:
    """Take away what a death left; what is wrong with it."""
    found = []
    with Moby(root, state, "demo") as moby:
        tasks = moby.tenant.tasks
        for one in tasks.ls():
            if one.status not in STATES:
                found.append(f"state {one.status}")
            try:
                tasks.delete(one.id, force=True)
            except MobyshellError as error:
                found.append(f"delete: {error}")
        found += [f"task {one.id} stays" for one in tasks.ls()]
        with suppress(NotFound):
            moby.container("box").delete(with_snapshot_cleanup)
        with suppress(NotFound):
            moby.tenant.snapshotter().remove("box")
        moby.store.collect()
    return found


if __name__ == "__main__":
    live(*sys.argv[1:])
