"""The trees that a build looks into: of its stages, of images, of the context.

Owns that a tree is unpacked before it is looked into, and which of them a word names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.core.errors import AlreadyExists, NotFound, UsageError
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.image_config import ImageConfig, ImageProcess, RootFS
from mobyshell.core.oci.image_spec import dump_image
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.platform import Platform, host_platform, matcher, parse_platform
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.store.references import child_labels
from mobyshell.core.store.snapshots.protocol import Snapshotter
from mobyshell.core.store.stack import Stack
from mobyshell.core.store.unpack import unpack
from mobyshell.core.store.walk import Resolved, resolve
from mobyshell.moby.build.context import Directory, Source, Tree
from mobyshell.moby.build.files import Below
from mobyshell.moby.build.stages import stage_of
from mobyshell.moby.build.state import State, layers_of

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant


class Trees:
    """Those of one build, under its lease."""

    def __init__(
        self, held: Tenant, snapshots: Snapshotter, context: Path | None, ignore: Path | None,
        stack: ExitStack,
    ) -> None:  # fmt: skip
        """`stack`: ends with the build. `ignore`: the file that says what the context leaves out, if it
        is not the context's .dockerignore."""
        self.snapshots = snapshots
        self.states: dict[int, State] = {}
        self.names: dict[str, int] = {}
        self._held, self._stack = held, stack
        self._place, self._ignore = context, ignore
        self._context: Directory | None = None

    def stage(self, word: str, before: int) -> State | None:
        """The stage that a word in the stage number `before` names."""
        found = stage_of(word, self.names, before)
        return self.states[found] if found is not None else None

    def image(self, name: str, platform: Platform) -> Resolved:
        """An image of the namespace. NotFound."""
        full = str(parse_reference(name))
        try:
            found = self._held.store.images.get(full)
        except NotFound as error:
            raise NotFound(f"there is no image {full} here",
                           hint=error.hint or f"mobyshell image pull {name}") from None  # fmt: skip
        return resolve(self._held.store.content, found.target, matcher(platform))

    def other(self, word: str, before: int) -> State:
        """The stage or image that `--from=word` names. NotFound."""
        found = self.stage(word, before)
        if found is not None:
            return found
        image = self.image(word, host_platform())
        return State("", ImageProcess(), image.config.platform, layers_of(image))

    @contextmanager
    def source(self, word: str, before: int) -> Iterator[Source]:
        """The files that `--from=word` names; the context's for nothing. NotFound."""
        if not word:
            yield self._of_context()
            return
        state = self.other(word, before)
        if not state.layers:
            raise NotFound(f"there is nothing in {word}")
        with self.tree(state) as stack:
            yield Tree(stack, word)

    def _of_context(self) -> Directory:
        if self._context is None:
            if self._place is None:
                raise UsageError("there is no directory to copy from")
            self._context = Directory(self._place, self._ignore)
            self._stack.callback(self._context.close)
        return self._context

    @contextmanager
    def below(self, state: State) -> Iterator[Below]:
        """The image so far, to be looked into."""
        if not state.layers:
            yield Below(None)
            return
        with self.tree(state) as stack:
            yield Below(stack)

    @contextmanager
    def tree(self, state: State) -> Iterator[Stack]:
        """The files of a stage."""
        self.unpacked(state)
        place = self.snapshots.directories(state.chain[-1])
        with Stack([place.directory, *place.lowers]) as stack:
            yield stack

    def unpacked(self, state: State) -> None:
        """Have the snapshot of a stage."""
        if not state.layers:
            return
        with suppress(NotFound):
            self.snapshots.claim(state.chain[-1])
            return
        config = ImageConfig(
            architecture=state.platform.architecture, os=state.platform.os,
            rootfs=RootFS(type="layers", diff_ids=tuple(one.diff_id for one in state.layers)),
        )  # fmt: skip
        image = assembled(state, config)
        self.keep(image.manifest.config, dump_image(config), ())
        unpack(self._held.store, image, snapshotter=self.snapshots.name)

    def keep(self, one: Descriptor, data: bytes, children: Sequence[Descriptor]) -> None:
        """Have a document in the content, with references to its children."""
        content, labels = self._held.store.content, child_labels(children)
        try:
            with content.writer(f"build-{one.digest}", expected=one.digest, patience=60) as ingest:
                ingest.write(data, 0)
                ingest.commit(one.size, one.digest, labels)
        except AlreadyExists:
            if labels:
                content.update(one.digest, dict(labels))


def assembled(state: State, config: ImageConfig) -> Resolved:
    """The image that a stage's layers make with this configuration."""
    manifest = Manifest(
        schema_version=2, media_type=media_types.OCI_MANIFEST,
        config=describe(dump_image(config), media_types.OCI_CONFIG),
        layers=tuple(one.descriptor for one in state.layers),
    )  # fmt: skip
    described = describe(dump_image(manifest), media_types.OCI_MANIFEST)
    return Resolved(described, manifest, config)


def bases(tenant: Tenant) -> Callable[[str, str], ImageProcess | None]:
    """What the images of a namespace are like, for `dockerfile.parse_dockerfile`."""

    def find(name: str, platform: str) -> ImageProcess | None:
        wanted = parse_platform(platform) if platform else host_platform()
        try:
            found = tenant.store.images.get(str(parse_reference(name)))
            return resolve(tenant.store.content, found.target, matcher(wanted)).config.config
        except NotFound:
            return None  # who builds upon it is told

    return find
