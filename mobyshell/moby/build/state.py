"""A stage in the making, as a value: its layers, its configuration, the key of its last step."""

from __future__ import annotations

from dataclasses import dataclass, field

from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_config import History, ImageProcess, chain_ids
from mobyshell.core.oci.platform import Platform
from mobyshell.core.store.walk import Resolved
from mobyshell.moby.build.cache import Layer


@dataclass(slots=True)
class State:
    """A stage so far."""

    key: str
    process: ImageProcess
    platform: Platform
    layers: list[Layer] = field(default_factory=list)
    history: list[History] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)
    author: str | None = None
    own_cmd: bool = False

    @property
    def chain(self) -> tuple[Digest, ...]:
        """The names of its trees, the last is that of the whole."""
        return chain_ids(one.diff_id for one in self.layers)


def layers_of(image: Resolved) -> list[Layer]:
    """The layers of an image."""
    return [
        Layer(one, diff_id)
        for one, diff_id in zip(image.layers, image.config.diff_ids, strict=True)
    ]
