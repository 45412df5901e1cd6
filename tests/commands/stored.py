"""What the examples of the store's verbs are about: an image, a container, a blob, a namespace."""

from __future__ import annotations

from pathlib import Path

from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.containers import Container
from mobyshell.core.store.store import Store

HELLO = Digest.of(b"hello")
ALPINE = "docker.io/library/alpine:latest"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


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
