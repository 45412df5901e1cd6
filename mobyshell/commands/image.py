"""`image`: names for what registries and archives hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.commands import image_plans as plans
from mobyshell.commands.registry import (
    DESTROY,
    IMAGE,
    READ,
    TEXT,
    WRITE,
    argument,
    optional,
    switch,
    verb,
)
from mobyshell.commands.results import Done, Rows, done_each
from mobyshell.commands.stored import collect, image_name, none_here, ns, plain
from mobyshell.core.oci.reference import parse_reference

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.store.images import Image

N = "image"


def _row(one: Image) -> dict[str, Any]:
    return {"name": one.name, "digest": one.target.digest, "media_type": one.target.media_type,
            "size": one.target.size, "annotations": dict(one.target.annotations or {}),
            "created": ns(one.created), "updated": ns(one.updated),
            "labels": plain(one.labels)}  # fmt: skip


@verb(
    N, "ls",
    optional("filters", TEXT, "such as name~=alpine, target.digest==…, labels.x==y", many=True),
    effect=READ, example="image ls name~=alpine",
)  # fmt: skip
def ls(ctx: Context, *, filters: tuple[str, ...]) -> Rows:
    """List the images of the namespace, or those that one of the filters means."""
    rows = [_row(one) for one in ctx.space.images.list(*filters)]
    columns = (("name", "IMAGE", "id"), ("digest", "DIGEST", "text"), ("updated", "UPDATED", "ago"))
    return Rows(columns, rows, "name", "" if rows or filters else none_here(ctx, "images"))


@verb(
    N, "tag",
    argument("source", IMAGE, "an image"),
    argument("target", TEXT, "the further name for it"),
    switch("-f --force", "also if that is the name of another"),
    effect=WRITE, example="image tag alpine alpine:stable", key="t",
)  # fmt: skip
def tag(ctx: Context, *, source: str, target: str, force: bool) -> Done:
    """Give an image a further name."""
    images = ctx.space.images
    name = str(parse_reference(target))
    make = images.put if force else images.create
    with (
        ctx.store.database.write()
    ):  # in one piece: else the image may go in between, and its blobs
        image = images.get(image_name(ctx.space, source))
        return Done(make(name, image.target, image.labels).name)


@verb(
    N, "rm",
    argument("images", IMAGE, "their names, or a digest that has one name", many=True),
    effect=DESTROY, example="image rm alpine", key="D", plan=plans.rm,
)  # fmt: skip
def rm(ctx: Context, *, images: tuple[str, ...]) -> Done:
    """Remove names of images, and from the disk what nothing else needs."""
    space = ctx.space
    names = [image_name(space, one, only=True) for one in images]
    try:
        done_each(names, space.images.delete)
    finally:
        said = collect(ctx)
    return Done(said=said)
