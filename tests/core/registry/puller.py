"""A pull into a store, as a program: for tests of several at once, and of sudden ends."""

from __future__ import annotations

import sys
from pathlib import Path

from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.registry import Client, Limits
from mobyshell.core.registry.credentials import NoKeyring
from mobyshell.core.registry.progress import ProgressEvent
from mobyshell.core.registry.pull import pull
from mobyshell.core.store.store import Store
from mobyshell.core.store.transfer import StoreSink


def say(event: ProgressEvent) -> None:
    """One line an event, by its kind."""
    print(type(event).__name__, flush=True)


def main(root: str, name: str) -> None:
    """Pull an image and give it its name."""
    limits = Limits(backoff=0.05)
    with Store.open(Path(root)) as store, Client(
        keyring=NoKeyring(), certs_d=(), plain_http=True, limits=limits
    ) as client:  # fmt: skip
        reference = parse_reference(name)
        with store.namespace("demo").leased() as held:
            target = pull(client.repository(reference, progress=say), StoreSink(held))
            held.images.put(str(reference), target)


if __name__ == "__main__":
    main(*sys.argv[1:])
