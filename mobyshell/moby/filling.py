"""An empty volume, filled with what a container's files have in its place.

Root mounts these files for that, attached nowhere. Who is not root may mount them only as root of a
user namespace: there it is done by a program of its own, which reads what to do as JSON, and says
what went wrong as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError, from_wire
from mobyshell.core.linux.constants import CLONE_NEWNS
from mobyshell.core.linux.interpreter import module
from mobyshell.core.linux.syscalls import call
from mobyshell.core.store.snapshots.mounting import opened
from mobyshell.core.store.snapshots.protocol import Mount
from mobyshell.core.volumes.copy_up import copy_up
from mobyshell.core.volumes.volumes import Volume

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant


def filler(tenant: Tenant, mounts: Sequence[Mount]) -> Callable[[str, Volume], None]:
    """What copies a directory of these mounts into a volume that is empty."""

    def fill(path: str, volume: Volume) -> None:
        if os.geteuid() == 0:
            _fill(mounts, path, volume)
        else:
            _fill_inside(tenant, mounts, path, volume)

    return fill


def _fill(mounts: Sequence[Mount], path: str, volume: Volume) -> None:
    with opened(mounts) as files:
        copy_up(files, path, volume)


def _fill_inside(tenant: Tenant, mounts: Sequence[Mount], path: str, volume: Volume) -> None:
    from mobyshell.core.store import owners

    enter = owners.of_store(tenant.store.scope.root).enter
    asked = {
        "mounts": [[one.type, one.source, list(one.options)] for one in mounts], "path": path,
        "volume": [volume.name, volume.namespace, volume.path, volume.created],
    }  # fmt: skip
    done = subprocess.run(
        [*enter, *module("mobyshell.moby.filling")], input=json.dumps(asked), text=True,
        capture_output=True, check=False, start_new_session=True,
    )  # fmt: skip
    if done.stdout:
        raise from_wire(json.loads(done.stdout))
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2].removeprefix("mobyshell: ")
        raise MobyshellError(f"the volume {volume.name} could not be filled: {said:.200}")


def main(_: Sequence[str] = ()) -> int:
    """The program, as root of the namespace."""
    asked = json.load(sys.stdin)
    mounts = [Mount(kind, source, tuple(words)) for kind, source, words in asked["mounts"]]
    try:
        call("unshare", CLONE_NEWNS, what="making a mount namespace")
        _fill(mounts, asked["path"], Volume(*asked["volume"]))
    except MobyshellError as error:
        json.dump(error.to_wire(), sys.stdout)
        return 1
    return 0
