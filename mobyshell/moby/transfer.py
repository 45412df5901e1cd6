"""Images from registries and files into the store, and back: pull, push, import, export."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.platform import Matcher, Platform, matcher
from mobyshell.core.oci.reference import Reference, parse_reference
from mobyshell.core.store import archives
from mobyshell.core.store.images import check_promise
from mobyshell.core.store.transfer import StoreSink, StoreSource
from mobyshell.moby.image import Image

if TYPE_CHECKING:
    from mobyshell.core.registry.client import Client as Registry
    from mobyshell.core.registry.progress import Progress
    from mobyshell.core.registry.session import Repository
    from mobyshell.core.registry.stop import Stop
    from mobyshell.core.store.layers import LayerWorker
    from mobyshell.moby.tenant import Tenant

SYSTEM_POLICY = Path("/etc/mobyshell/trust.toml")


def pull(
    tenant: Tenant, name: str, *, unpack: bool, platform: Platform | None, all_platforms: bool,
    snapshotter: str, registry: Registry | None, progress: Progress | None, stop: Stop | None,
) -> Image:  # fmt: skip
    """See `Moby.pull`. Nothing is fetched that the trust policy does not let in; the name is given
    last, when all is there."""
    from mobyshell.core.registry.client import Client
    from mobyshell.core.registry.manifests import resolve
    from mobyshell.core.registry.progress import quiet

    reference = parse_reference(name)
    own = Client() if registry is None else None
    try:
        client = registry or own
        assert client is not None
        with tenant.leased() as held:
            repository = client.repository(reference, progress=progress or quiet, stop=stop)
            wanted = None if all_platforms else matcher(platform)
            top = resolve(repository)
            _admit(held, reference, top.digest, repository)
            target = _fetched(held, repository, wanted, top, snapshotter if unpack else None)
            image = Image(held, str(reference), target, platform)
            if unpack:
                image.unpack(snapshotter)
            held.store.images.put(str(reference), target)
    finally:
        if own is not None:
            own.close()
    return Image(tenant, str(reference), target, platform)


def _fetched(
    held: Tenant, repository: Repository, wanted: Matcher | None, top: Descriptor,
    snapshotter: str | None,
) -> Descriptor:  # fmt: skip
    """Have it in the store; with a snapshotter's name, its layers are unpacked while they come."""
    from mobyshell.core.registry.pull import pull as fetch

    sink = StoreSink(held.store)
    if snapshotter is None:
        return fetch(repository, sink, wanted, descriptor=top)
    from mobyshell.moby.arriving import Arriving

    work = repository.anew()
    with Arriving(held.store, snapshotter, work.stop) as arriving:
        return fetch(work, sink, wanted, descriptor=top, onward=arriving)


def push(
    tenant: Tenant, name: str, target: str, *, platform: Platform | None,
    registry: Registry | None, progress: Progress | None, stop: Stop | None,
) -> Descriptor:  # fmt: skip
    """See `Moby.push`."""
    from mobyshell.core.registry.client import Client
    from mobyshell.core.registry.progress import quiet
    from mobyshell.core.registry.push import push as send
    from mobyshell.moby.trust import push_signatures

    found = tenant.store.images.get(str(parse_reference(name)))
    image = Image(tenant, found.name, found.target, platform)
    top = image.resolved.descriptor if platform is not None else found.target
    own = Client() if registry is None else None
    try:
        client = registry or own
        assert client is not None
        reference = parse_reference(target or name)
        check_promise(str(reference), top.digest)
        repository = client.repository(reference, progress=progress or quiet, stop=stop)
        with tenant.leased() as held:
            send(repository, StoreSource(held.store), top)
            push_signatures(held, parse_reference(name), repository, top.digest)
    finally:
        if own is not None:
            own.close()
    return top


def referrers(
    tenant: Tenant, name: str, artifact_type: str, *, registry: Registry | None, stop: Stop | None
) -> tuple[Descriptor, ...]:
    """See `Moby.referrers`."""
    from mobyshell.core.registry.client import Client
    from mobyshell.core.registry.manifests import resolve
    from mobyshell.core.registry.referrers import referrers as ask

    reference = parse_reference(name)
    own = Client() if registry is None else None
    try:
        client = registry or own
        assert client is not None
        repository = client.repository(reference, stop=stop)
        try:
            digest = tenant.store.images.get(str(reference)).target.digest
        except NotFound:
            digest = resolve(repository).digest
        return ask(repository, digest, artifact_type)
    finally:
        if own is not None:
            own.close()


def _admit(
    tenant: Tenant, reference: Reference, digest: Digest, repository: Repository | None = None
) -> None:
    """Refused, unless the trust policy lets an image in. Where there is none, nothing is loaded that
    could read one."""
    if policy_file(tenant) is None:
        return
    from mobyshell.moby.trust import admit, fetch_signatures

    def fetch() -> None:
        if repository is not None:
            fetch_signatures(tenant, repository, digest)

    admit(tenant, reference, digest, fetch)


def policy_file(tenant: Tenant) -> Path | None:
    """Where the trust policy is: $MOBYSHELL_TRUST, <root>/trust.toml, /etc/mobyshell/trust.toml, the
    first that is there."""
    given = os.environ.get("MOBYSHELL_TRUST")
    if given:
        return Path(given)
    for path in (tenant.store.scope.root.path / "trust.toml", SYSTEM_POLICY):
        if path.exists():
            return path
    return None


def import_images(
    tenant: Tenant, source: str | os.PathLike[str] | int, *, name: str, unpack: bool,
    platform: Platform | None, snapshotter: str, worker: LayerWorker | None = None,
) -> list[Image]:  # fmt: skip
    """See `Moby.import_images`. An image that only has a tag is named after its file. `worker` may be
    given, who has been started for it."""
    spool = tenant.store.scope.root.ingests
    with archives.open_source(source, spool) as opened:
        done = archives.import_images(
            tenant.store, opened, name=name, base=_base(source),
            platform=matcher(platform) if platform else None, unpacked=unpack,
            snapshotter=snapshotter, worker=worker,
            admit=lambda full, one: _admit(tenant, parse_reference(full), one.digest),
        )  # fmt: skip
    return [Image(tenant, one.image.name, one.image.target, platform) for one in done]


def _base(source: str | os.PathLike[str] | int) -> str:
    """A repository by a file's name; "" where it has none that could be one."""
    if isinstance(source, int):
        return ""
    stem = Path(source).name.partition(".")[0].lower()
    word = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")
    try:
        return parse_reference(word).name
    except UsageError:
        return ""


def export_layout(
    tenant: Tenant, names: Sequence[str], directory: Path, *, platform: Platform | None
) -> None:
    """See `Moby.export_layout`."""
    found = [tenant.store.images.get(str(parse_reference(name))) for name in names]
    archives.export_layout(
        tenant.store, found, directory, platform=matcher(platform) if platform else None
    )


def export_images(
    tenant: Tenant, names: Sequence[str], file: BinaryIO, *, platform: Platform | None
) -> None:
    """See `Moby.export_images`."""
    found = [tenant.store.images.get(str(parse_reference(name))) for name in names]
    archives.export_images(
        tenant.store, found, file, platform=matcher(platform) if platform else None
    )
