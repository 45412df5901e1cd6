"""The labels by which a document keeps what it refers to from garbage collection."""

from __future__ import annotations

from collections.abc import Iterable

from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.store.labels import GC_REF_CONTENT


def child_labels(children: Iterable[Descriptor]) -> dict[str, str]:
    """Labels for the document whose children these are, named as containerd names them:
    `….config`, `….l.N` for layers, `….m.N` for manifests, `….N` for what else there is."""
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for one in children:
        if media_types.is_config(one.media_type):
            found[f"{GC_REF_CONTENT}.config"] = one.digest
            continue
        kind = ""
        if media_types.is_layer(one.media_type):
            kind = ".l"
        elif media_types.is_manifest(one.media_type) or media_types.is_index(one.media_type):
            kind = ".m"
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        found[f"{GC_REF_CONTENT}{kind}.{number}"] = one.digest
    return found
