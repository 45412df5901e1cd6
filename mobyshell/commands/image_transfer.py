"""`image pull push import export`: images from registries and files, and back."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    FILE,
    IMAGE,
    READ,
    TEXT,
    WRITE,
    argument,
    option,
    optional,
    switch,
    verb,
)
from mobyshell.commands.results import Done, Rows
from mobyshell.commands.stored import image_name
from mobyshell.commands.written import output_file
from mobyshell.core.errors import UsageError
from mobyshell.core.oci.reference import parse_reference

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.oci.platform import Platform
    from mobyshell.core.registry.client import Client
    from mobyshell.core.registry.progress import Progress
    from mobyshell.core.registry.stop import Stop
    from mobyshell.moby.image import Image
    from mobyshell.moby.tenant import Tenant

N = "image"
_PLATFORM = option("--platform", "OS/ARCH[/VARIANT] (default: this machine's)", TEXT)
_SNAPSHOTTER = option("--snapshotter", "which keeps its tree (default: the best that works here)")
_NO_UNPACK = switch("--no-unpack", "leave the layers packed")
REGISTRY_OPTIONS = (
    option("-u --user", "USER, whose password is asked for (default: docker's config.json)", TEXT),
    switch("--plain-http", "speak to the registry without TLS"),
    switch("--insecure", "do not verify the registry's certificate"),
    option("--ca", "a file with authorities to believe", FILE),
)  # fmt: skip


@verb(
    N, "pull",
    argument("name", TEXT, "the image, such as busybox or registry.example.com/team/app:1.0"),
    _PLATFORM,
    switch("--all-platforms", "all that the image is for"),
    _NO_UNPACK, _SNAPSHOTTER, *REGISTRY_OPTIONS,
    effect=WRITE, example="image pull localhost:5000/busybox", key="p",
)  # fmt: skip
def pull(
    ctx: Context, *, name: str, platform: str | None, all_platforms: bool, no_unpack: bool,
    snapshotter: str | None, **registry: Any,
) -> Done:  # fmt: skip
    """Fetch an image from its registry, and unpack it.

    What is there already is not fetched again, and what an earlier try left is gone on with. How
    registries are reached (mirrors, certificates) is told by hosts.toml files, as containerd has
    them: /etc/containerd/certs.d/HOST/hosts.toml.
    """
    from mobyshell.commands.progress import Meter
    from mobyshell.moby.transfer import pull as fetch

    reference = parse_reference(name)
    client = client_of(ctx, str(reference.domain), **registry)
    try:
        with Meter(ctx, reference.familiar) as meter:
            image = fetch(
                tenant(ctx), name, unpack=not no_unpack, platform=_platform(platform),
                all_platforms=all_platforms, snapshotter=snapshotter or "", registry=client,
                progress=meter, stop=None,
            )  # fmt: skip
    finally:
        client.close()
    return Done(image.name, said=f"{image.target.digest}: {meter.said()}")


def pull_watched(ctx: Context, name: str, progress: Progress, stop: Stop) -> str:
    """The same for who looks on and may stop it: `progress` gets every event, from several threads.
    The image's full name."""
    from mobyshell.moby.transfer import pull as fetch

    host = str(parse_reference(name).domain)
    client = client_of(ctx, host, user=None, plain_http=False, insecure=False, ca=None)
    try:
        return fetch(
            tenant(ctx), name, unpack=True, platform=None, all_platforms=False, snapshotter="",
            registry=client, progress=progress, stop=stop,
        ).name  # fmt: skip
    finally:
        client.close()


@verb(
    N, "push",
    argument("image", IMAGE, "the image"),
    optional("target", TEXT, "where to (default: where its name says)", default=""),
    _PLATFORM, *REGISTRY_OPTIONS,
    effect=WRITE, example="image push alpine localhost:5000/alpine", key="P",
)  # fmt: skip
def push(ctx: Context, *, image: str, target: str, platform: str | None, **registry: Any) -> Done:
    """Bring an image to a registry; blobs that it has from another repository are not sent."""
    from mobyshell.commands.progress import Meter
    from mobyshell.moby.transfer import push as send

    name = image_name(ctx.space, image)
    reference = parse_reference(target or name)
    client = client_of(ctx, str(reference.domain), **registry)
    try:
        with Meter(ctx, reference.familiar) as meter:
            top = send(tenant(ctx), name, target, platform=_platform(platform), registry=client,
                       progress=meter, stop=None)  # fmt: skip
    finally:
        client.close()
    return Done(f"{reference.name}@{top.digest}", said=meter.said())


@verb(
    N, "referrers",
    argument("name", TEXT, "the image"),
    option("--type", "only of this artifact type", TEXT, default=""),
    *REGISTRY_OPTIONS,
    effect=READ, example="image referrers localhost:5000/busybox",
)  # fmt: skip
def referrers(ctx: Context, *, name: str, type: str, **registry: Any) -> Rows:
    """List what refers to an image at its registry: signatures, provenance, bills of materials.

    The image that is here is meant, else the one that has the name there. Registries without the
    referrers API are asked for the tag that stands in for it.
    """
    from mobyshell.moby.transfer import referrers as ask

    reference = parse_reference(name)
    client = client_of(ctx, str(reference.domain), **registry)
    try:
        found = ask(tenant(ctx), name, type, registry=client, stop=None)
    finally:
        client.close()
    rows = [{"digest": one.digest, "type": one.artifact_type or one.media_type, "size": one.size,
             "annotations": dict(one.annotations or {})} for one in found]  # fmt: skip
    columns = (("digest", "DIGEST", "id"), ("type", "TYPE", "text"), ("size", "SIZE", "bytes"),
               ("annotations", "ANNOTATIONS", "text"))  # fmt: skip
    return Rows(columns, rows, "digest", "" if rows else f"nothing refers to {reference.familiar}")


def push_watched(
    ctx: Context, image: str, target: str, progress: Progress, stop: Stop
) -> str:  # fmt: skip
    """The same, as `pull_watched`. The name it has there, with its digest."""
    from mobyshell.moby.transfer import push as send

    name, reference = image_name(ctx.space, image), parse_reference(target)
    client = client_of(ctx, str(reference.domain), user=None, plain_http=False, insecure=False,
                     ca=None)  # fmt: skip
    try:
        top = send(tenant(ctx), name, target, platform=None, registry=client, progress=progress,
                   stop=stop)  # fmt: skip
    finally:
        client.close()
    return f"{reference.name}@{top.digest}"


@verb(
    N, "import",
    argument("file", FILE, "an archive or the directory of a layout; - for standard input"),
    option("--name", "the image's name, instead of the one in the file", TEXT, default=""),
    _PLATFORM, _NO_UNPACK, _SNAPSHOTTER,
    effect=WRITE, example="image import alpine.tar", key="I",
)  # fmt: skip
def import_(
    ctx: Context, *, file: str, name: str, platform: str | None, no_unpack: bool,
    snapshotter: str | None,
) -> Rows:  # fmt: skip
    """Have the images of an OCI layout, or of `docker save`, and unpack them.

    An image that only has a tag is named after the file.
    """
    from pathlib import Path

    from mobyshell.core.store import owners
    from mobyshell.core.store.layers import LayerWorker
    from mobyshell.core.store.root import StoreRoot

    enter = owners.of_store(StoreRoot(Path(ctx.root))).enter if not no_unpack else ()
    with LayerWorker(enter=enter) if not no_unpack else nullcontext() as worker:
        # it loads what it needs while we do
        from mobyshell.moby.tenant import Tenant as Made
        from mobyshell.moby.transfer import import_images

        here = Made(ctx.space, lambda: ctx.tasks, ctx.state)  # nothing asks for its tasks
        done = import_images(
            here, 0 if file == "-" else file, name=name, unpack=not no_unpack,
            platform=_platform(platform), snapshotter=snapshotter or "", worker=worker,
        )  # fmt: skip
    rows = [{"name": one.name, "digest": one.target.digest} for one in done]
    return Rows((("name", "IMAGE", "id"), ("digest", "DIGEST", "text")), rows, "name")


@verb(
    N, "export",
    argument("images", IMAGE, "the images", many=True),
    option("-o --output", "the file to write (default, and -: standard output)", FILE),
    _PLATFORM,
    effect=READ, example="image export alpine -o out.tar", asks="-o ",
)  # fmt: skip
def export(
    ctx: Context, *, images: tuple[str, ...], output: str | None, platform: str | None
) -> Done:
    """Write images as one archive, which OCI's tools and Docker's both read.

    The same images make the same bytes. Platforms that are not here are left out. If OUTPUT ends in /,
    or is a directory, they are written there as files, an OCI layout: it must be new, or empty.
    """
    from pathlib import Path

    from mobyshell.moby.transfer import export_images, export_layout

    names = [image_name(ctx.space, one) for one in images]
    if output is not None and (output.endswith("/") or os.path.isdir(output)):
        place = Path(os.path.abspath(output))
        export_layout(tenant(ctx), names, place, platform=_platform(platform))
        return Done(said=f"wrote {output}")
    with output_file(output or "-") as file:
        export_images(tenant(ctx), names, file, platform=_platform(platform))
    return Done(said=f"wrote {output}" if output else "")


def tenant(ctx: Context) -> Tenant:
    """The session's namespace, as the client has it."""
    from mobyshell.moby.tenant import Tenant as Made

    tasks = ctx.tasks  # of now: the session may move on
    return Made(ctx.space, lambda: tasks, ctx.state)


def find_image(ctx: Context, word: str, platform: str | None = None) -> Image:
    """The image that `word` names. NotFound."""
    from mobyshell.moby.image import Image as Made

    found = ctx.space.images.get(image_name(ctx.space, word))
    return Made(tenant(ctx), found.name, found.target, _platform(platform))


def _platform(word: str | None) -> Platform | None:
    from mobyshell.core.oci.platform import parse_platform

    return parse_platform(word) if word else None


def client_of(
    ctx: Context, host: str, *, user: str | None, plain_http: bool, insecure: bool, ca: str | None
) -> Client:
    """A client of registries, as the options say (`REGISTRY_OPTIONS`)."""
    from mobyshell.core.registry import TLS
    from mobyshell.core.registry.client import Client as Made
    from mobyshell.core.registry.credentials import Keyring, OneKeyring, default_keyring
    from mobyshell.core.registry.values import Credentials

    keyring: Keyring = default_keyring()
    if user:
        keyring = OneKeyring(host, Credentials(user, _password(ctx, user, host)))
    tls = TLS(ca=(ca,) if ca else (), verify=not insecure) if ca or insecure else None
    return Made(keyring=keyring, plain_http=plain_http, tls=tls)


def _password(ctx: Context, user: str, host: str) -> str:
    """From the environment, or asked for: never a word of the command line, which all may read."""
    given = os.environ.get("MOBYSHELL_PASSWORD")
    if given is not None:
        return given
    if not ctx.interactive:
        raise UsageError(f"no password for {user} at {host}", hint="set MOBYSHELL_PASSWORD")
    return ctx.secret(f"Password of {user} at {host}")
