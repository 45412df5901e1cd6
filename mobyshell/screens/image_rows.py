"""Images, their layers and files as rows and lines. Pure: values in, rows and text out."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from mobyshell.commands.output import clean, size
from mobyshell.core.store.differences import Way
from mobyshell.moby.look import FileRow, LayerRow, Wasted
from mobyshell.moby.survey import ImageInfo, Part, TreeRow
from mobyshell.widgets.resource import Column, ResourceSpec, Row

_DIGITS = 12
_MARKS = {Way.ADDED: ("+", "green"), Way.CHANGED: ("~", "yellow"), Way.REPLACED: ("~", "yellow"),
          Way.DELETED: ("-", "red")}  # fmt: skip


def image_health(row: Row) -> str:
    """good: could run at once; busy: is packed; bad: nothing for this machine."""
    return {"yes": "good", "packed": "busy"}.get(row["unpacked"], "bad")


IMAGES = ResourceSpec(
    noun="image",
    key="name",
    columns=(
        Column("familiar", "IMAGE", 0, "id"), Column("digest", "DIGEST", 12),
        Column("size", "SIZE", 8, "bytes"), Column("unpacked", "UNPACKED", 8, "state"),
        Column("age", "AGE", 7, "age"), Column("platforms", "PLATFORMS", 24, "text", 90),
    ),
    health=image_health,
    empty="No images yet: press p to pull one, I to import one; or :image build.",
    sort="familiar",
)  # fmt: skip

LAYERS = ResourceSpec(
    noun="layer",
    key="n",
    columns=(
        Column("layer", "LAYER", 6, "number"), Column("size", "SIZE", 8, "bytes"),
        Column("by", "MADE BY", 0), Column("digest", "DIGEST", 12, "text", 60),
    ),
    health=lambda row: "off" if row["layer"] is None else "good",
    empty="It has neither layers nor a history.",
)  # fmt: skip

WASTED = ResourceSpec(
    noun="file",
    key="path",
    columns=(
        Column("size", "WASTED", 8, "bytes"), Column("copies", "COPIES", 7, "number"),
        Column("path", "PATH", 0),
    ),
    health=lambda row: "good",
    empty="Nothing is wasted: no layer hides a file of another.",
    sort="size",
    descending=True,
)  # fmt: skip


def short(digest: str) -> str:
    """The first digits of a digest, which people tell them apart by."""
    return digest.partition(":")[2][:_DIGITS]


def image_rows(images: Sequence[ImageInfo], now_ns: int) -> list[dict[str, Any]]:
    """One row an image."""
    return [
        {
            "name": one.name, "familiar": one.familiar, "digest": short(one.digest),
            "size": one.size, "platforms": " ".join(one.platforms),
            "unpacked": "?" if one.unpacked is None else "yes" if one.unpacked else "packed",
            "age": max(now_ns - one.updated_ns, 0),
        }
        for one in images
    ]  # fmt: skip


def layer_rows(layers: Sequence[LayerRow]) -> list[dict[str, Any]]:
    """One row a step, in their order."""
    return [
        {"n": f"{number:04}", "layer": one.number if one.number >= 0 else None,
         "size": one.size if one.number >= 0 else None, "by": one.created_by or one.comment,
         "digest": short(one.digest)}
        for number, one in enumerate(layers)
    ]  # fmt: skip


def wasted_rows(wasted: Sequence[Wasted]) -> list[dict[str, Any]]:
    """One row a file."""
    return [{"path": one.path, "copies": one.copies, "size": one.bytes} for one in wasted]


def wasted_sum(wasted: Sequence[Wasted]) -> str:
    """All of it together; "" where there is nothing."""
    if not wasted:
        return ""
    files = "1 file" if len(wasted) == 1 else f"{len(wasted)} files"
    return (f"{size(sum(one.bytes for one in wasted))} in {files}, unpacked: pulled and kept, and "
            "never seen, for a later layer has another one, or none, in its place.")  # fmt: skip


def layer_text(one: LayerRow) -> str:
    """All about a step: which layer it made, by what, in full, and the names of that layer."""
    none = "It made no layer: it set something in the configuration."
    lines = [none if one.number < 0 else f"layer {one.number}, {size(one.size)} packed"]
    for text in (one.created_by, one.comment):
        lines += ["", *map(clean, text.expandtabs(4).splitlines())] if text else []
    lines.append("")
    if one.number >= 0:
        lines += [f"blob    {one.digest}", f"files   {one.diff_id}",
                  f"chain   {one.chain_id} (with all below)"]  # fmt: skip
    return "\n".join([*lines, *([f"made    {clean(one.created)}"] if one.created else [])])


def tree_label(row: TreeRow, name: str = "") -> Text:
    """How a path stands in the tree of a layer: a mark, its `name` (the last of it), and how large
    it is."""
    sign, colour = _MARKS[row.way] if row.way is not None else ("·" if row.touched else " ", "dim")
    text = Text(f"{sign} ", colour)
    kind, name = row.file.kind, clean(name or posixpath.basename(row.file.path))
    text.append(f"{name}/" if kind == "directory" else name, colour if row.way else "")
    if kind == "link":
        text.append(f" → {clean(row.file.target)}", "dim")
    elif kind == "file":
        text.append(f"  {size(row.file.size)}", "dim")
    elif kind not in ("directory", "deleted"):
        text.append(f"  {kind}", "dim")
    if kind not in ("link", "deleted"):
        text.append(f"  {rights(row.file)}", "dim")
    return text


def rights(file: FileRow) -> str:
    """Who may do what with it, as ls has it, and whose it is: a layer may have changed no more."""
    return f"{stat.filemode(file.mode)[1:]} {file.uid}:{file.gid}"


def parts_text(name: str, parts: Sequence[Part]) -> str:
    """What an image is made of, a line a blob; what this machine runs of it is marked."""
    lines = [
        clean(name), "",
        "A name leads to a target; an index to one manifest a platform; a manifest to a "
        "configuration and to layers, the lowest first. Each is known by the digest of its bytes. "
        "▸ is what this machine runs, ✗ what is not here.", "",
    ]  # fmt: skip
    for one in parts:
        sign = "✗" if not one.present else "▸" if one.mine else " "
        head = f"{sign} {'  ' * one.depth}{one.kind} {one.platform}".rstrip()
        lines.append(f"{head:32} {size(one.size):>8}")
        lines += [f"  {'  ' * one.depth}  {text}" for text in (one.digest, clean(one.media_type))]
    return "\n".join(lines)


_DUMPED = 1 << 16
"""Bytes of what is no text that are shown."""

_STRANGE = 0.1
"""The part of its characters that may be none of a text's, in a text."""


def is_text(data: bytes) -> bool:
    """Whether a person could read it: no NUL, and most of it in UTF-8."""
    if b"\0" in data:
        return False
    text = data[:_DUMPED].decode("utf-8", "replace")
    strange = sum(one == "\ufffd" or (one < " " and one not in "\t\n\r\f\b\a\x1b") for one in text)
    return strange <= len(text) * _STRANGE


def dump(data: bytes) -> list[str]:
    """Bytes as hexdump(1) has them, sixteen a line."""
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        halves = f"{row[:8].hex(' '):23}  {row[8:].hex(' '):23}"
        plain = "".join(chr(one) if 32 <= one < 127 else "." for one in row)
        lines.append(f"{at:08x}  {halves}  |{plain}|")
    return lines


def file_lines(data: bytes, most: int) -> list[str]:
    """A file's first bytes as lines; what is no text as the bytes it is made of."""
    if not is_text(data):
        more = [f"… (the first {size(_DUMPED)})"] if len(data) > _DUMPED else []
        return [*dump(data[:_DUMPED]), *more]
    lines = [clean(line.expandtabs(4)) for line in data.decode("utf-8", "replace").splitlines()]
    return [*lines, f"… (the first {size(most)})"] if len(data) >= most else lines
