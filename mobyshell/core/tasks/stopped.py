"""That somebody has stopped a task, written where it outlives the machine: on its container.

Owns that one label (containerd's and nerdctl's `containerd.io/restart.explicitly-stopped`).
"""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path

from mobyshell.core.errors import NotFound
from mobyshell.core.store.store import Store
from mobyshell.core.tasks.restarts import EXPLICITLY_STOPPED


def mark(root: str, namespace: str, id: str) -> None:
    """Label the container, if there is (still) one. The errors are the store's."""
    with closing(Store.open(Path(root))) as store, suppress(NotFound):
        containers = store.namespace(namespace).containers
        if containers.get(id).labels.get(EXPLICITLY_STOPPED) != "true":
            containers.update(id, labels={EXPLICITLY_STOPPED: "true"})
