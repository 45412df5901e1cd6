"""What was built before, by what it depended on.

A step's key is a digest of everything that its layer depends on: the key of the step before (so, of
all before it and of the base), the step itself, the configuration in force, the content it copies.
There is no other way to a cached layer (CVE-2024-24557 was one that left the parents out).

An entry is a lease that holds the layer: garbage collection keeps it until the cache is pruned.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.leases import Resource
from mobyshell.core.store.store import Namespace

PREFIX = "build-"
"""Of the leases of everything that builds keep."""
_LAYER, _DIFF_ID, _STEP = (f"io.mobyshell/build.{name}" for name in ("layer", "diff-id", "step"))
_LONGEST_STEP = 200


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that a step made; `made`: when, in seconds, if that is known."""

    descriptor: Descriptor
    diff_id: Digest
    made: float | None = None


def key_of(*parts: Any) -> str:
    """The key of a step, from everything that it depends on."""
    return sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Cache:
    """The cache of one namespace: what one tenant built is nothing for another."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def find(self, key: str) -> Layer | None:
        """The layer of a key, held by the caller's lease from now on; None if there is none."""
        try:
            lease = self._namespace.leases.get(PREFIX + key)
            labels = lease.labels
            told = json.loads(labels[_LAYER])
            layer = Layer(
                Descriptor(media_type=told[0], digest=Digest(told[1]), size=told[2]),
                Digest(labels[_DIFF_ID]), lease.created,
            )  # fmt: skip
            self._namespace.content.claim(layer.descriptor.digest)
        except (MobyshellError, KeyError, ValueError, TypeError, IndexError):
            return None
        return layer

    def keep(self, key: str, layer: Layer, step: str) -> Layer:
        """Remember a layer, which is in the content. The same, with the time at which it was made
        first."""
        one = layer.descriptor
        labels = {
            _LAYER: json.dumps([one.media_type, one.digest, one.size]), _DIFF_ID: layer.diff_id,
            _STEP: step[:_LONGEST_STEP],
        }  # fmt: skip
        leases, id = self._namespace.leases, PREFIX + key
        with suppress(AlreadyExists):
            leases.create(id, labels)
        leases.add(id, Resource("content", one.digest))
        lease = leases.get(id)
        same = lease.labels.get(_DIFF_ID) == layer.diff_id
        return replace(layer, made=lease.created) if same else layer

    def prune(self) -> int:
        """Forget everything; how many entries there were."""
        found = [one.id for one in self._namespace.leases.list() if one.id.startswith(PREFIX)]
        for id in found:
            with suppress(NotFound):
                self._namespace.leases.delete(id)
        return len(found)
