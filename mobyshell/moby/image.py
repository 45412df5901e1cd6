"""Images as a client has them: a name, and what is run of it on this machine."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from mobyshell.core.errors import NotFound
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.image_config import ImageConfig
from mobyshell.core.oci.platform import Platform, matcher
from mobyshell.core.store.walk import Resolved, resolve
from mobyshell.core.values import value

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant


@value
class Image:
    """An image as it was when it was asked for. `platform` None: this machine's."""

    tenant: Tenant
    name: str
    target: Descriptor
    platform: Platform | None = None

    @cached_property
    def resolved(self) -> Resolved:
        """Its manifest and configuration. NotFound if there are none for the platform, or if it was
        removed since it was asked for."""
        content = self.tenant.store.content
        try:
            return resolve(content, self.target, matcher(self.platform) if self.platform else None)
        except NotFound:
            if not content.has(self.target.digest):
                self.tenant.store.images.get(self.name)  # says so, in a user's words
            raise

    @property
    def config(self) -> ImageConfig:
        """How it is run."""
        return self.resolved.config

    @property
    def chain_id(self) -> str:
        """The name of its tree among snapshots; "" of an image without layers."""
        return self.resolved.chain_id

    @property
    def size(self) -> int:
        """Bytes of configuration and layers, as they are stored."""
        return self.resolved.manifest.size

    def is_unpacked(self, snapshotter: str = "") -> bool:
        """Whether a container could be made of it at once."""
        snapshots = self.tenant.snapshotter(snapshotter)
        if not self.chain_id:
            return True
        try:
            snapshots.stat(self.chain_id)
        except NotFound:
            return False
        return True

    def unpack(self, snapshotter: str = "") -> None:
        """Make the snapshots of its layers, if they are not there."""
        if self.is_unpacked(snapshotter):
            return
        from mobyshell.core.store.unpack import unpack

        with self.tenant.leased() as held:
            unpack(held.store, self.resolved, snapshotter=snapshotter)

    def delete(self) -> None:
        """Forget the name."""
        self.tenant.store.images.delete(self.name)
