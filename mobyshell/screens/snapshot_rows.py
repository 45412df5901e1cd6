"""Snapshots as rows and texts. Pure: values in, rows and text out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mobyshell.commands.output import clean, duration, size
from mobyshell.core.store.snapshots.explained import (
    mount_calls,
    mount_json,
    mount_lines,
    option_reasons,
)
from mobyshell.moby.snapshot_survey import Holder, Makeup, SnapshotInfo
from mobyshell.screens.base import number_of
from mobyshell.widgets.resource import Column, ResourceSpec, Row

TARGET = "/mnt"
"""Where mounts are shown to lead: anywhere."""

_DIGEST = re.compile(r"^([a-z0-9]+):([0-9a-f]{12})[0-9a-f]{20,}$")

KINDS = {
    "active": "Active: it is being written, by a container, an unpack, a build, or a person. It "
    "cannot be a parent until it is committed.",
    "view": "A view: what is committed, to be read only. It can be neither written nor committed.",
    "committed": "Committed: it never changes any more. It can be prepared and viewed upon, and "
    "has no mount of its own.",
}


def snapshot_health(row: Row) -> str:
    """good: is kept; busy: can be written; bad: the next collection takes it."""
    if not row["kept_by"]:
        return "bad"
    return {"active": "busy", "view": "off"}.get(row["kind"], "good")


SNAPSHOTS = ResourceSpec(
    noun="snapshot",
    key="id",
    columns=(
        Column("name", "SNAPSHOT", 0, "id"), Column("kind", "KIND", 9, "state"),
        Column("size", "SIZE", 8, "bytes"), Column("inodes", "INODES", 7, "number", 100),
        Column("age", "AGE", 7, "age"), Column("kept_by", "KEPT BY", 26, "text", 70),
        Column("snapshotter", "SNAPSHOTTER", 11, "text", 130),
    ),
    health=snapshot_health,
    empty="No snapshots yet: pull an image (F3, p), or press p to prepare an empty one.",
    sort="created",
    parent="parent",
)  # fmt: skip


def short(key: str) -> str:
    """A key as it stands in a list: of a digest, what tells it apart."""
    found = _DIGEST.match(key)
    return f"{found[1]}:{found[2]}…" if found else key


def name(one: SnapshotInfo) -> str:
    """What it is called in a list; of another snapshotter than the usual one, it is said of which."""
    return short(one.key) if one.preferred else f"{short(one.key)} ({one.snapshotter})"


def told(holder: Holder, key: str) -> str:
    """`container web`, `image alpine`; of images without what nobody would say. What keeps `key`
    and is itself, does so by a label."""
    if holder == Holder("snapshot", key):
        return "its label"
    name = holder.name.removeprefix("docker.io/library/").removesuffix(":latest")
    return f"{holder.kind} {short(name)}"


def kept_by(one: SnapshotInfo) -> str:
    """The nearest holder, and how many more there are."""
    order = {"container": 0, "image": 1, "lease": 2}
    if not one.holders:
        return ""
    first, *more = sorted(
        one.holders, key=lambda it: -1 if it.name == one.key else order.get(it.kind, 3)
    )
    return told(first, one.key) + (f" +{len(more)}" if more else "")


def snapshot_rows(snapshots: Sequence[SnapshotInfo], now_ns: int) -> list[dict[str, Any]]:
    """One row a snapshot."""
    return [
        {
            "id": one.id, "key": one.key, "name": name(one), "kind": one.kind,
            "parent": one.parent_id, "snapshotter": one.snapshotter,
            "size": one.size, "inodes": one.inodes, "created": one.created_ns,
            "age": max(now_ns - one.created_ns, 0), "kept_by": kept_by(one),
            "holders": " ".join(told(it, one.key) for it in one.holders),
            "labels": " ".join(f"{key}={value}" for key, value in one.labels.items()),
        }
        for one in snapshots
    ]  # fmt: skip


def mounts_text(info: SnapshotInfo, made: Makeup) -> str:
    """How it is mounted, in every form, with each word explained."""
    names = {one.directory: short(one.key) for one in made.layers}
    lines = [clean(info.key), ""]
    if made.through:
        lines += [
            "It is committed, and has no mount of its own. A view of it would be mounted so:",
            "",
        ]
    elif info.kind == "active":
        lines += ["Nothing is mounted by the snapshotter; whoever writes to it mounts it so:", ""]
    else:
        lines += ["Nothing is mounted by the snapshotter; whoever reads it mounts it so:", ""]
    for mount in made.mounts:
        lines.append("mount(8)")
        lines += [f"  {clean(one)}" for one in mount_lines(mount, TARGET)]
        lines += ["", "mount(2)"]
        lines += [f"  {clean(one)}" for one in mount_calls(mount, TARGET)]
        lines += ["", "What each word is for"]
        if mount.type == "overlay":
            lines.append(
                "  overlay: directories over each other; the uppermost that has a name decides"
            )
        for option, why in option_reasons(mount):
            lines += _option(option, why, names)
        lines += ["", "JSON, as containerd's API has it"]
        lines += [f"  {clean(line)}" for line in mount_json(mount).splitlines()]
    return "\n".join(lines)


def _option(option: str, why: str, names: Mapping[str, str]) -> list[str]:
    name, _, value = option.partition("=")
    if name != "lowerdir":
        word = name if name in ("upperdir", "workdir") else option
        return [f"  {clean(word)}: {why}"]
    return [
        f"  {name}: {why}",
        *(f"    {number:>3}  {clean(one)}  {clean(names.get(one, ''))}".rstrip()
          for number, one in enumerate(value.split(":"), 1)),
    ]  # fmt: skip


def usage_text(info: SnapshotInfo, made: Makeup, now_ns: int) -> str:
    """All that is known of it."""
    total = sum(one.size or 0 for one in made.layers)
    ago = [duration(max(now_ns - at, 0)) for at in (info.created_ns, info.updated_ns)]
    own = "?" if info.size is None else size(info.size)
    lines = [
        clean(info.key), "", KINDS[info.kind], "",
        f"kind         {info.kind}",
        f"parent       {clean(info.parent) or '–'}",
        f"snapshotter  {made.snapshotter}, its trees are {made.form}",
        f"created      {ago[0]} ago",
        f"updated      {ago[1]} ago",
        f"takes        {own} in {'?' if info.inodes is None else info.inodes} inodes, alone",
        f"shows        {size(total)} in {number_of(len(made.layers), 'layer')}, with those below it",
        "",
        "labels" if info.labels else "no labels",
        *(f"  {clean(key)}={clean(value)}" for key, value in sorted(info.labels.items())),
        "",
        "layers, the topmost first",
    ]  # fmt: skip
    for one in made.layers:
        took = "?" if one.size is None else size(one.size)
        lines += [f"  {took:>8}  {clean(short(one.key))}", f"            {clean(one.directory)}"]
    return "\n".join(lines)


_MOST = 20
"""Ways that are told."""

_GARBAGE = (
    "Nothing needs it: the next collection (`store gc`) removes it.", "",
    "It would be kept by a container, a lease, an image that is unpacked to it, a snapshot upon it "
    "that is kept, or the label containerd.io/gc.root (L labels it).",
)  # fmt: skip


def kept_text(info: SnapshotInfo, why: Sequence[str]) -> str:
    """Why garbage collection keeps it, a way a root."""
    lines = [clean(info.key), ""]
    if not why:
        return "\n".join([*lines, *_GARBAGE])
    lines += ["Garbage collection begins with images, containers, leases and what is labelled "
              "containerd.io/gc.root, and keeps what can be reached from these. It comes here by "
              f"{'this way' if len(why) == 1 else f'{len(why)} ways'}:"]  # fmt: skip
    for way in sorted(why, key=len)[:_MOST]:
        steps = re.sub(r"\b([a-z0-9]+:[0-9a-f]{12})[0-9a-f]{20,}", r"\1…", clean(way)).split(" → ")
        lines.append("")
        lines += [
            f"  {'  ' * depth}{'→ ' if depth else ''}{step}" for depth, step in enumerate(steps)
        ]
    if len(why) > _MOST:
        lines += ["", f"  … and {len(why) - _MOST} longer ones"]
    return "\n".join(lines)
