"""Tenants and what they hold as rows and lines. Pure: values in, rows and text out."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from mobyshell.commands.output import clean, size
from mobyshell.core.clock import rfc3339
from mobyshell.moby.tenants import KINDS, ObjectInfo, TenantInfo, named
from mobyshell.widgets.resource import Column, ResourceSpec, Row

WIDTH = 76


def tenant_health(row: Row) -> str:
    """good: the session is in it; off: there is nothing in it; busy: anything else."""
    return "good" if row["used"] else "off" if row["empty"] else "busy"


TENANTS = ResourceSpec(
    noun="tenant",
    key="name",
    columns=(
        Column("name", "NAMESPACE", 0, "id"), Column("used", "IN USE", 6, "state"),
        Column("tasks", "TASKS", 5, "number"), Column("containers", "CONTS", 5, "number"),
        Column("images", "IMGS", 4, "number"), Column("snapshots", "SNAPS", 5, "number"),
        Column("content", "BLOBS", 5, "number"), Column("bytes", "SIZE", 8, "bytes"),
        Column("leases", "LEASES", 6, "number", 100), Column("networks", "NETS", 4, "number", 100),
        Column("volumes", "VOLS", 4, "number", 100), Column("labels", "LABELS", 20, "text", 110),
    ),
    health=tenant_health,
    empty="No namespaces: not even the one in use.",
)  # fmt: skip

HOLDINGS = ResourceSpec(
    noun="kind",
    key="kind",
    columns=(
        Column("kind", "KIND", 11, "id"), Column("count", "COUNT", 6, "number"),
        Column("bytes", "SIZE", 8, "bytes"), Column("names", "FIRST OF THEM", 0),
    ),
    health=lambda row: "good" if row["count"] else "off",
    empty="It holds nothing: D removes it.",
    sort="place",
)  # fmt: skip

OBJECTS = ResourceSpec(
    noun="object",
    key="key",
    columns=(
        Column("name", "NAME", 0, "id"), Column("kind", "KIND", 10, "text", 70),
        Column("bytes", "SIZE", 8, "bytes"), Column("age", "AGE", 7, "age"),
        Column("about", "ABOUT", 34, "text", 90),
    ),
    health=lambda row: "good",
    empty="It holds nothing.",
)  # fmt: skip

_ABOUT = {
    "tasks": "containers alive: processes", "containers": "what is to run: a spec, a snapshot",
    "images": "names for what registries and archives hold; their size is content's, too",
    "snapshots": "trees of files upon each other; committed ones may be shared with others",
    "content": "blobs by their digest; the same blob lies on the disk once for all tenants",
    "ingests": "blobs on their way in", "leases": "what holds things that nothing else needs yet",
    "networks": "what tasks are joined to", "volumes": "directories that outlive tasks",
}  # fmt: skip

_TEXT = (
    "This is containerd's namespace: a tenant. Whatever the store keeps belongs to one, and a client "
    "sees only the one that it is in: two tenants can have an image, or a task, of the same name. It "
    "divides names, not machines: the processes of two tenants are apart because of the kernel's "
    "namespaces, which are on the other page (v), and share one store, so that a blob that both "
    "have lies on the disk once.",
    "A session is in one: the one that was given (--namespace, MOBYSHELL_NAMESPACE), or that was "
    "last used (u). It is made when it is made (n), or when something is put into it, and it is "
    "removed (D) only when nothing is in it.",
    "SIZE is that of its blobs and committed snapshots, as far as it is shared, too. What is still on "
    "its way in (ingests, as after a pull that was stopped) is not part of it, as it is not part of "
    "what containerd or Docker count: it is a row of its own below Holds.",
)


def tenant_rows(tenants: Sequence[TenantInfo]) -> list[dict[str, Any]]:
    """One row a tenant."""
    return [
        {
            "name": one.name, "used": "in use" if one.used else "", "empty": one.empty,
            **{kind: one.counts.get(kind, 0) for kind in KINDS}, "bytes": one.bytes,
            "labels": " ".join(f"{key}={value}" for key, value in one.labels.items()),
        }
        for one in tenants
    ]  # fmt: skip


def holding_rows(objects: Sequence[ObjectInfo]) -> list[dict[str, Any]]:
    """One row a kind, also of those there are none of."""
    rows = []
    for place, kind in enumerate(KINDS):
        mine = [one for one in objects if one.kind == kind]
        sizes = [one.bytes for one in mine if one.bytes is not None]
        rows.append({
            "kind": kind, "place": place, "count": len(mine), "bytes": sum(sizes) if sizes else None,
            "names": ", ".join(one.name for one in mine[:8]) or _ABOUT[kind],
        })  # fmt: skip
    return rows


def object_rows(objects: Sequence[ObjectInfo], now_ns: int) -> list[dict[str, Any]]:
    """One row an object; a snapshot and a blob may be called the same."""
    return [
        {"key": f"{one.kind} {one.name} {one.about}", "kind": one.kind, "name": one.name,
         "about": one.about, "bytes": one.bytes,
         "age": max(now_ns - one.created_ns, 0) if one.created_ns is not None else None}
        for one in objects
    ]  # fmt: skip


def labels_text(one: TenantInfo, objects: Sequence[ObjectInfo]) -> str:
    """What is known of one beside its objects."""
    lines = [f"namespace {one.name}", ""]
    parts = [it.bytes or 0 for it in objects if it.kind == "ingests"]
    words = f"{len(parts)} unfinished download{'s'[: len(parts) != 1]}, beside that"
    coming = [f"{'coming':12}{size(sum(parts))}: {words}"] if parts else []
    made = rfc3339(one.created_ns) if one.created_ns else "not yet: with the first that is put in"
    lines += [f"{'made':12}{made}", f"{'in use':12}{'yes' if one.used else 'no: u is into it'}", ""]
    lines[-1:] = [f"{'size':12}{size(one.bytes)}: its blobs and committed snapshots", *coming, ""]
    for key, value in sorted(one.labels.items()):
        lines += textwrap.wrap(clean(f"{key}={value}"), WIDTH, initial_indent=f"{'label':12}",
                               subsequent_indent=" " * 12)  # fmt: skip
    if not one.labels:
        lines.append(f"{'labels':12}none: L gives it one")
    inside = named(objects)
    told = f"cannot be removed: {inside}" if inside else "is empty: D removes it"
    return "\n".join([*lines, "", *textwrap.wrap(clean(f"It {told}"), WIDTH)])


def explain_text() -> str:
    """What a tenant is, for who knows the word from the kernel."""
    return "\n\n".join("\n".join(textwrap.wrap(part, WIDTH)) for part in _TEXT)
