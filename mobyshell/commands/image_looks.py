"""`image inspect history layers tree diff cat`: what is in an image, without running it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from mobyshell.commands.image_transfer import find_image
from mobyshell.commands.output import clean, size
from mobyshell.commands.registry import (
    FILE,
    IMAGE,
    NUMBER,
    READ,
    TEXT,
    WRITE,
    argument,
    option,
    optional,
    switch,
    verb,
)  # fmt: skip
from mobyshell.commands.results import Bytes, Done, Record, Rows, Text

if TYPE_CHECKING:
    from mobyshell.commands.context import Context

N = "image"
_IMAGE = argument("image", IMAGE, "the image")
_PLATFORM = option("--platform", "OS/ARCH[/VARIANT] (default: this machine's)", TEXT)
_LAYER = option("--layer", "the number of a layer, from 0 (default: all of them together)", NUMBER)


@verb(N, "inspect", _IMAGE, _PLATFORM, effect=READ, example="image inspect alpine", key="i")
def inspect(ctx: Context, *, image: str, platform: str | None) -> Record:
    """Show what an image is: for which platforms, how it is run, of which layers it is made."""
    from mobyshell.core.oci.image_spec import image_to_json
    from mobyshell.core.store.walk import variants

    found = find_image(ctx, image, platform)
    resolved = found.resolved
    content = ctx.space.content
    platforms = [
        {"platform": str(one.platform or "?"), "digest": one.descriptor.digest, "here": one.present}
        for one in variants(content, found.target)
    ]
    layers = [
        {"number": number, "digest": one.digest, "size": one.size, "chain_id": chain}
        for number, (one, chain) in enumerate(zip(resolved.layers, resolved.chain_ids, strict=True))
    ]
    return Record({
        "name": found.name, "digest": found.target.digest, "media_type": found.target.media_type,
        "manifest": resolved.descriptor.digest, "platform": str(resolved.config.platform),
        "size": found.size, "unpacked": found.is_unpacked(), "platforms": platforms,
        "config": image_to_json(resolved.config.config) if resolved.config.config else {},
        "layers": layers, "annotations": dict(resolved.manifest.annotations or {}),
    }, "name")  # fmt: skip


@verb(N, "history", _IMAGE, _PLATFORM, effect=READ, example="image history alpine")
def history(ctx: Context, *, image: str, platform: str | None) -> Rows:
    """Show how an image came to be, the first step first; - for steps without a layer."""
    from mobyshell.moby.look import history as steps

    rows = [
        {"layer": one.number if one.number >= 0 else None, "size": one.size,
         "created": one.created, "created_by": one.created_by, "comment": one.comment,
         "digest": one.digest}
        for one in steps(find_image(ctx, image, platform))
    ]  # fmt: skip
    columns = (("layer", "LAYER", "number"), ("size", "SIZE", "bytes"),
               ("created", "CREATED", "text"), ("created_by", "MADE BY", "text"))  # fmt: skip
    return Rows(columns, rows, "digest")


@verb(
    N, "tree", _IMAGE, optional("path", TEXT, "a directory in it", default="/"), _LAYER, _PLATFORM,
    effect=READ, example="image tree alpine /",
)  # fmt: skip
def tree(ctx: Context, *, image: str, path: str, layer: int | None, platform: str | None) -> Rows:
    """List a directory of an image, and from which layer each file is."""
    from mobyshell.moby.look import files

    rows: list[dict[str, Any]] = [
        {"path": one.path, "kind": one.kind, "mode": f"{one.mode:04o}", "size": one.size,
         "owner": f"{one.uid}:{one.gid}", "layer": one.layer, "target": one.target}
        for one in files(find_image(ctx, image, platform), path, layer=layer)
    ]  # fmt: skip
    columns = (("mode", "MODE", "text"), ("owner", "OWNER", "text"), ("size", "SIZE", "bytes"),
               ("layer", "LAYER", "number"), ("kind", "KIND", "text"),
               ("path", "PATH", "id"), ("target", "LEADS TO", "text"))  # fmt: skip
    return Rows(columns, rows, "path")


@verb(
    N, "diff", _IMAGE, _LAYER, _PLATFORM,
    switch("--wasted", "instead: files that upper layers hide, and that are carried along"),
    effect=READ, example="image diff alpine --layer 0", key="d",
)  # fmt: skip
def diff(
    ctx: Context, *, image: str, layer: int | None, platform: str | None, wasted: bool
) -> Rows:
    """Show what layers have added, changed and deleted; of one of them, or of all."""
    from mobyshell.moby import look

    found = find_image(ctx, image, platform)
    if wasted:
        lost: list[dict[str, Any]] = [{"path": one.path, "copies": one.copies, "size": one.bytes}
                for one in look.wasted(found)]  # fmt: skip
        return Rows((("size", "WASTED", "bytes"), ("copies", "COPIES", "number"),
                     ("path", "PATH", "id")), lost, "path",
                    said=f"{size(sum(int(one['size']) for one in lost))} wasted")  # fmt: skip
    numbers = range(len(found.resolved.layers)) if layer is None else (layer,)
    rows = [
        {"layer": number, "way": str(one.way), "path": one.path, "size": one.size,
         "mode": f"{one.mode & 0o7777:04o}"}
        for number in numbers for one in look.changes(found, number)
    ]  # fmt: skip
    columns = (("layer", "LAYER", "number"), ("way", "WHAT", "text"), ("size", "SIZE", "bytes"),
               ("path", "PATH", "id"))  # fmt: skip
    return Rows(columns, rows, "path")


@verb(
    N, "cat", _IMAGE, argument("path", TEXT, "a file in it"), _LAYER, _PLATFORM,
    effect=READ, example="image cat alpine /hello",
)  # fmt: skip
def cat(
    ctx: Context, *, image: str, path: str, layer: int | None, platform: str | None
) -> Text | Bytes:
    """Print a file of an image; of a layer, as it was then. What is no text is not shown on a terminal."""
    from mobyshell.moby.look import LARGEST, pieces

    found = pieces(find_image(ctx, image, platform), path, layer=layer)
    first = next(found, b"")
    second = next(found, b"") if first else b""
    hint = f"`image unpack {image} DIRECTORY` has it as a file"
    if second:
        why = f"is longer than {size(LARGEST)}"
        return Bytes(chain((first, second), found), f"{clean(path)} {why}", hint)
    try:
        if b"\0" not in first:
            return Text(first.decode())
    except UnicodeDecodeError:
        pass
    return Bytes((first,), f"{clean(path)} is no text", hint)


@verb(
    N, "unpack", _IMAGE, optional("directory", FILE, "a new directory (default: its snapshots)"),
    _PLATFORM, option("--snapshotter", "which keeps its tree"),
    effect=WRITE, example="image unpack alpine files", key="u",
)  # fmt: skip
def unpack(
    ctx: Context, *, image: str, directory: str | None, platform: str | None,
    snapshotter: str | None,
) -> Done:  # fmt: skip
    """Unpack an image: its layers as snapshots, or its files into a directory of your own."""
    found = find_image(ctx, image, platform)
    if directory is None:
        found.unpack(snapshotter or "")
        return Done(found.chain_id)
    from pathlib import Path

    from mobyshell.core.store.flatten import flatten

    flatten(ctx.space, found.resolved, Path(directory))
    return Done(directory)
