"""Labels: what may be one, how they are kept, and the names that mean something.

Owns containerd's rules for labels and the names of those that steer garbage collection and
sharing. Pure; knows no table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.safejson import show

LONGEST = 4096
"""Bytes of a key and its value together: containerd's bound (pkg/labels/validate.go)."""

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
SHAREABLE = "containerd.io/namespace.shareable"
"""`true`: other namespaces may have the blob without having proved that they have its bytes."""
UNCOMPRESSED = "containerd.io/uncompressed"
"""The diff id of a layer."""
DISTRIBUTION_SOURCE = "containerd.io/distribution.source"
"""`….<registry>`: the repositories there that have the blob."""
SNAPSHOT_PREFIX = "containerd.io/snapshot/"
"""What begins with it is inherited by what is prepared from a snapshot."""

_parse = json.JSONDecoder().raw_decode  # of what we wrote; a third quicker than `loads`


def check_labels(labels: Mapping[str, str]) -> None:
    """UsageError unless all of them can be labels."""
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str) or not key:
            raise UsageError(f"not a label: {show(key)}={show(value)}", hint="text=text")
        try:
            size = len(key.encode()) + len(value.encode())
        except UnicodeEncodeError:
            raise UsageError(f"the label {show(key)} is not Unicode text") from None
        if size > LONGEST:
            raise UsageError(
                f"the label {show(key)} is too long: {size} bytes",
                hint=f"key and value together have at most {LONGEST}",
            )
        if "\0" in key or "\0" in value:
            raise UsageError(f"the label {show(key)} holds a zero byte")


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
