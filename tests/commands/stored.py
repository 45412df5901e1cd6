"""What the examples of the store's verbs are about: an image, a container, a blob, a namespace."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.platform import host_platform
from mobyshell.core.store.containers import Container
from mobyshell.core.store.leases import Resource
from mobyshell.core.store.store import Store
from mobyshell.core.store.unpack import unpack
from mobyshell.core.store.walk import resolve
from mobyshell.core.trust import keys
from mobyshell.moby.image import Image
from mobyshell.moby.tenant import Tenant
from mobyshell.moby.trust import sign
from tests.core.store import images
from tests.fakes import FakeTasks

HELLO = Digest.of(b"hello")
ALPINE = "docker.io/library/alpine:latest"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def real_image(root: Path) -> None:
    """`alpine` as an image that could be looked into, unpacked: one file, /hello."""
    with Store.open(root) as store:
        space = store.namespace("default")
        with space.leased() as held:
            target = images.image(held.content, [{"hello": b"hello\n"}],
                                  architecture=host_platform().architecture)  # fmt: skip
            held.images.put(ALPINE, target)
            unpack(held, resolve(held.content, target))


def signed_image(root: Path, public: Path) -> None:
    """`alpine` signed, by a key whose public half is put into a file."""
    private, pem = keys.generate(b"")
    public.write_bytes(pem)
    with Store.open(root) as store, closing(FakeTasks()) as tasks:
        tenant = Tenant(store.namespace("default"), lambda: tasks)
        image = Image(tenant, ALPINE, tenant.store.images.get(ALPINE).target)
        sign(tenant, image, keys.read_private(private), {})


def furnish(root: Path) -> None:
    """`alpine`, `web`, the blob `hello`, the ingest `started`; the empty namespace `tenant`."""
    with Store.open(root) as store:
        space = store.namespace("default")
        with space.leased() as held, held.content.writer("hello") as ingest:
            ingest.write(b"hello")
            ingest.commit(labels={"containerd.io/gc.root": "x"})
        with space.content.writer("started") as ingest:
            ingest.write(b"half")
        target = Descriptor(media_type=MANIFEST, digest=HELLO, size=5)
        space.images.create(ALPINE, target)
        space.containers.create(Container("web", image=ALPINE), {"ociVersion": "1.2.0"})
        store.namespaces.create("tenant")


def lease(root: Path) -> None:
    """The lease `held`, which holds the blob `hello`."""
    with Store.open(root) as store:
        leases = store.namespace("default").leases
        leases.create("held")
        leases.add("held", Resource("content", HELLO))
