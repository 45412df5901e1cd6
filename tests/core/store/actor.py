"""What is killed at every step by `test_killed`: an image that comes, another that goes, garbage.

python -m tests.core.store.actor ROOT      prints `named` when the image is there for good
"""

from __future__ import annotations

import sys
from pathlib import Path

from mobyshell.core.errors import AlreadyExists, NotFound
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.store import Namespace, Store

LAYERS = (b"first layer\n" * 2000, b"second layer\n" * 3000)
MANIFEST = b'{"layers": 2}'
OLD = b"what goes" * 1000
EVERYTHING = [Digest.of(one) for one in (*LAYERS, MANIFEST)]


def put(space: Namespace, ref: str, data: bytes, labels: dict[str, str] | None = None) -> Digest:
    """Write what is missing of a blob, in pieces."""
    digest = Digest.of(data)
    try:
        with space.content.writer(ref, total=len(data), expected=digest, patience=60) as ingest:
            while ingest.offset < len(data):
                ingest.write(data[ingest.offset : ingest.offset + 10_000])
            ingest.commit(labels=labels)
    except AlreadyExists:
        pass
    return digest


def name(space: Namespace, image: str, digest: Digest) -> None:
    """Point an image there."""
    space.images.put(image, Descriptor(media_type="m/m", digest=digest, size=1))


def act(root: Path) -> None:
    """The whole of it. Can be begun again wherever it ended."""
    with Store.open(root) as store:
        demo = store.namespace("demo")
        with demo.leased() as held:
            name(held, "old", put(held, "old", OLD))
            refs: dict[str, str] = {
                f"containerd.io/gc.ref.content.l.{number}": put(held, f"layer-{number}", data)
                for number, data in enumerate(LAYERS)
            }
            name(held, "image", put(held, "manifest", MANIFEST, refs))
        print("named", flush=True)
        try:
            demo.images.delete("old")
        except NotFound:
            pass
        store.collect()
        print("collected", flush=True)


if __name__ == "__main__":
    act(Path(sys.argv[1]))
