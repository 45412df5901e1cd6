"""The client: containerd's, but without a daemon: the store is opened, the shim comes when needed.

    with Moby() as moby, moby.namespace("demo"):
        image = moby.pull("docker.io/library/redis:alpine")
        …

Owns which namespace is meant: the one of the innermost `with moby.namespace(…)` of this thread or
asyncio task. One client may be used by many threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.platform import Platform
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.store.store import Store
from mobyshell.core.tasks.client import TaskClient
from mobyshell.core.tasks.paths import default_namespace, state_root, store_root
from mobyshell.moby import container as containers
from mobyshell.moby.container import Container, ContainerOption
from mobyshell.moby.image import Image
from mobyshell.moby.spec_options import SpecOption
from mobyshell.moby.tenant import Tenant as Tenant

if TYPE_CHECKING:
    from mobyshell.core.registry.client import Client as Registry
    from mobyshell.core.registry.progress import Progress
    from mobyshell.core.registry.stop import Stop
    from mobyshell.moby.around import Around
    from mobyshell.moby.run import Finished


class Moby:
    """A client of the store below `root` and of the tasks below `state`. Close it (or use `with`):
    tasks live on."""

    def __init__(
        self, root: str | os.PathLike[str] | None = None,
        state: str | os.PathLike[str] | None = None, namespace: str = "",
    ) -> None:  # fmt: skip
        """Open them; made if there are none. `namespace`: the one outside of any block."""
        self.root = Path(os.path.abspath(root if root is not None else store_root()))
        self.state = os.path.abspath(state if state is not None else state_root())
        self._named = ContextVar("namespace", default=namespace or default_namespace())
        self._store = Store.open(self.root)
        self._clients: dict[str, TaskClient] = {}
        self._lock = Lock()

    @contextmanager
    def namespace(self, name: str) -> Iterator[Moby]:
        """Within the block, everything is of this namespace; it need not be there yet."""
        self._store.namespace(name)
        before = self._named.set(name)
        try:
            yield self
        finally:
            self._named.reset(before)

    @property
    def current(self) -> str:
        """The namespace that is meant now."""
        return self._named.get()

    @property
    def tenant(self) -> Tenant:
        """The namespace's store and tasks, for what the client has no method for."""
        name = self.current
        with self._lock:
            client = self._clients.get(name)
            if client is None:
                client = self._clients[name] = TaskClient(self.state, name)
        return Tenant(self._store.namespace(name), lambda: client, self.state)

    @property
    def store(self) -> Store:
        """The store with all its namespaces."""
        return self._store

    # images

    def image(self, name: str, *, platform: Platform | None = None) -> Image:
        """The image of this name, as people write it (`busybox`). NotFound."""
        tenant = self.tenant
        found = tenant.store.images.get(str(parse_reference(name)))
        return Image(tenant, found.name, found.target, platform)

    def pull(
        self, name: str, *, unpack: bool = True, platform: Platform | None = None,
        all_platforms: bool = False, snapshotter: str = "", registry: Registry | None = None,
        progress: Progress | None = None, stop: Stop | None = None,
    ) -> Image:  # fmt: skip
        """The image of this name from its registry, in the store, unpacked for this machine.

        What is there already is not fetched again; what an earlier try has left is gone on with.
        NotFound (no such image, or none for the platform), RegistryFailed, InvalidImage.
        """
        from mobyshell.moby.transfer import pull

        return pull(self.tenant, name, unpack=unpack, platform=platform,
                    all_platforms=all_platforms, snapshotter=snapshotter, registry=registry,
                    progress=progress, stop=stop)  # fmt: skip

    def push(
        self, name: str, target: str = "", *, platform: Platform | None = None,
        registry: Registry | None = None, progress: Progress | None = None,
        stop: Stop | None = None,
    ) -> Descriptor:  # fmt: skip
        """Bring an image to its registry, or to where `target` names; what the name is of there."""
        from mobyshell.moby.transfer import push

        return push(self.tenant, name, target, platform=platform, registry=registry,
                    progress=progress, stop=stop)  # fmt: skip

    def referrers(
        self, name: str, artifact_type: str = "", *, registry: Registry | None = None,
        stop: Stop | None = None,
    ) -> tuple[Descriptor, ...]:  # fmt: skip
        """What refers to an image at its registry: signatures, provenance, bills of materials; all, or
        of one type. The image that is here is meant, else the one that has the name there."""
        from mobyshell.moby.transfer import referrers

        return referrers(self.tenant, name, artifact_type, registry=registry, stop=stop)

    def import_images(
        self, source: str | os.PathLike[str] | int, *, name: str = "", unpack: bool = True,
        platform: Platform | None = None, snapshotter: str = "",
    ) -> list[Image]:  # fmt: skip
        """The images in an OCI layout (archive or directory) or an archive of Docker's; `source` is a
        path or a descriptor. See `core/store/archives`."""
        from mobyshell.moby.transfer import import_images

        return import_images(self.tenant, source, name=name, unpack=unpack, platform=platform,
                             snapshotter=snapshotter)  # fmt: skip

    def export_images(
        self, names: Sequence[str], file: BinaryIO, *, platform: Platform | None = None
    ) -> None:
        """Write images as one archive, which OCI's tools and Docker's both read."""
        from mobyshell.moby.transfer import export_images

        export_images(self.tenant, names, file, platform=platform)

    def export_layout(
        self, names: Sequence[str], directory: Path, *, platform: Platform | None = None
    ) -> None:
        """Write images as an OCI layout into a directory that is not there yet, or empty."""
        from mobyshell.moby.transfer import export_layout

        export_layout(self.tenant, names, directory, platform=platform)

    def images(self, *filters: str) -> list[Image]:
        """All images, or those that match any of the filters (`name~=busybox`)."""
        tenant = self.tenant
        return [Image(tenant, one.name, one.target) for one in tenant.store.images.list(*filters)]

    # containers

    def new_container(self, id: str, *options: ContainerOption) -> Container:
        """A container made of options, which are applied in their order. AlreadyExists."""
        return containers.create(self.tenant, id, options)

    def container(self, id: str) -> Container:
        """The container of this id. NotFound."""
        found = Container(self.tenant, id)
        _ = found.info
        return found

    def containers(self, *filters: str) -> list[Container]:
        """All containers, or those that match any of the filters (`labels.app==web`)."""
        tenant = self.tenant
        return [Container(tenant, one.id) for one in tenant.store.containers.list(*filters)]

    def run(
        self, image: Image | str, args: Sequence[str] = (), *options: SpecOption | Around,
        id: str = "", runtime: str = "", snapshotter: str = "", stdin: BinaryIO | None = None,
    ) -> Finished:  # fmt: skip
        """Run a container of an image to its end, and leave nothing of it.

        Options are of its spec (`with_env`, `with_memory_limit`, …) or of what is around it
        (`with_network`, `with_port`, `with_volume`, `with_restart_policy`). With the policy
        on-failure it is run until it succeeds, or has failed too often. UsageError for a policy that
        has no end.
        """
        from mobyshell.moby.run import run

        found = image if isinstance(image, Image) else self.image(image)
        return run(
            found, args, options, id=id, runtime=runtime, snapshotter=snapshotter, stdin=stdin
        )

    # networks of what runs

    def connect(
        self, network: str, id: str, *, ips: Sequence[str] = (), aliases: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Join a task to one more network, while it runs or is stopped; its addresses there. `ips`: those
        that it shall have; `aliases`: further names by which neighbours find it.

        It has them through restarts, and its container's next task has them too. AlreadyExists,
        NotFound; UsageError for words that are no network (`none`, `host`, …), and for what is no
        address of it; WrongState for a task whose network is the host's, its config's or another's.
        """
        from mobyshell.moby.networks import connect

        return tuple(one.ip for one in connect(self.tenant, network, id, ips, aliases).leases)

    def disconnect(self, network: str, id: str) -> None:
        """Take a task out of a network. Its other networks, addresses and published ports stay; NotFound
        if it is not in it, otherwise as for `connect`."""
        from mobyshell.moby.networks import disconnect

        disconnect(self.tenant, network, id)

    # the end

    def close(self) -> None:
        """Hang up. Containers and tasks stay."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()
        self._store.close()

    def __enter__(self) -> Moby:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
