"""Labels: how they are kept, and the names that mean something.

Owns the names of those that steer garbage collection and
sharing. Pure; knows no table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mobyshell.core.oci.labels import check_labels

GC_ROOT = "containerd.io/gc.root"
"""Its owner is kept, and what it refers to. The value is of no meaning; a time by custom."""
GC_REF_CONTENT = "containerd.io/gc.ref.content"
"""Also `….x`: the blob that is the value is kept as long as the owner."""
GC_REF_SNAPSHOT = "containerd.io/gc.ref.snapshot"
"""`….<snapshotter>`: the snapshot that is the value is kept as long as the owner."""
GC_BREF = "containerd.io/gc.bref"
"""`….content`, `….image`, `….container`, `….snapshot.<snapshotter>`: the owner is kept as long as
the object that is the value."""
GC_EXPIRE = "containerd.io/gc.expire"
"""RFC 3339: the lease (or image) is none any more from then on."""
GC_FLAT = "containerd.io/gc.flat"
"""The lease keeps what it names, but not what that refers to."""
BOOT = "io.mobyshell/boot"
"""The container is of this boot (proc_sys_kernel(5), random/boot_id), and garbage in the next."""
SHAREABLE = "containerd.io/namespace.shareable"
"""`true`: other namespaces may have the blob without having proved that they have its bytes."""
UNCOMPRESSED = "containerd.io/uncompressed"
"""The diff id of a layer."""
DISTRIBUTION_SOURCE = "containerd.io/distribution.source"
"""`….<registry>`: the repositories there that have the blob."""

_parse = json.JSONDecoder().raw_decode  # of what we wrote; a third quicker than `loads`


def encode(labels: Mapping[str, str]) -> str:
    """Labels as a column holds them. UsageError as `check_labels`."""
    if not labels:
        return "{}"
    check_labels(labels)
    return json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def decode(column: str) -> dict[str, str]:
    """The labels of a column."""
    if column == "{}":
        return {}
    found: dict[str, str] = _parse(column)[0]
    return found


def changed(labels: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """`labels` with these set, and those taken away whose new value is None (or "", which
    containerd takes for the same)."""
    merged = {**labels, **changes}
    return {key: value for key, value in merged.items() if value}


def references(labels: Mapping[str, str], prefix: str) -> list[tuple[str, str, str]]:
    """(label, rest, value) of each label that is `prefix`, or `prefix` and `.rest` or `/rest`."""
    found = []
    for key, value in labels.items():
        if key.startswith(prefix) and value:
            rest = key[len(prefix) :]
            if not rest or rest[0] in "./":
                found.append((key, rest[1:], value))
    return found
