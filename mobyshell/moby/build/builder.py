"""The builder: stages from their bases to images.

Owns the state of a stage (layers, configuration, history, cache key) and how a layer is made:
from a scratch directory, or from what a container changed on a snapshot. A layer is always what is
in its blob: the snapshot that a container wrote is thrown away, and the blob unpacked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobyshell.core.clock import rfc3339
from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound, UsageError
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_config import History, ImageConfig, ImageProcess, RootFS, chain_ids
from mobyshell.core.oci.image_spec import dump_image, image_to_json
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.platform import host_platform, matcher, parse_platform
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.store import owners
from mobyshell.core.store.differences import write_layer
from mobyshell.core.store.layers import Compression, LayerWorker, Written
from mobyshell.core.store.references import child_labels
from mobyshell.core.store.snapshots.choose import directories
from mobyshell.core.store.stack import Stack
from mobyshell.core.store.unpack import PATIENCE, unpack
from mobyshell.core.store.walk import Resolved, resolve
from mobyshell.moby.build import running
from mobyshell.moby.build.cache import Cache, Layer, key_of
from mobyshell.moby.build.context import Directory, Source, Tree, digest_of
from mobyshell.moby.build.files import Below, Scratch
from mobyshell.moby.build.options import Options
from mobyshell.moby.build.owning import Owning
from mobyshell.moby.build.settings import environment_of, history_of, joined, with_set
from mobyshell.moby.build.stages import stage_of, wanted
from mobyshell.moby.build.steps import (
    SCRATCH,
    Argument,
    Copy,
    Programs,
    Run,
    Set,
    Shell,
    Stage,
    Step,
    Workdir,
    Write,
)

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant

_FORMAT = 1
"""Counts changes of how layers are made: what an older mobyshell has cached is another thing."""


@dataclass(slots=True)
class _State:
    """A stage so far."""

    key: str
    process: ImageProcess
    layers: list[Layer] = field(default_factory=list)
    history: list[History] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)
    platform: Any = None
    own_cmd: bool = False

    @property
    def chain(self) -> tuple[Digest, ...]:
        return chain_ids(one.diff_id for one in self.layers)


def build(
    tenant: Tenant, stages: Sequence[Stage], names: Sequence[str], options: Options
) -> Descriptor:
    """Build the last stage (or `options.target`), and name it. What its manifest is of.

    Raises:
        UsageError, NotFound: a step asks for what is not there.
        RunFailed: a command failed.
    """
    full = [str(parse_reference(name)) for name in names]
    with tenant.leased() as held, ExitStack() as stack:
        running.bury(held)
        builder = _Builder(held, options, stack)
        needed = wanted(stages, options.target)
        for index in needed:
            builder.stage(index, stages[index])
        target = builder.finish(needed[-1])
        for name in full:
            held.store.images.put(name, target)
    return target


class _Builder:
    def __init__(self, held: Tenant, options: Options, stack: ExitStack) -> None:
        self._held, self._options, self._stack = held, options, stack
        self._content = held.store.content
        self._snapshots = held.snapshotter(options.snapshotter)
        self._cache = Cache(held.store)
        self._states: dict[int, _State] = {}
        self._names: dict[str, int] = {}
        self._context: Directory | None = None
        root = held.store.scope.root
        self._owners = owners.of_store(root)
        self._count = 0
        self._scratch = stack.enter_context(directories(root, root.scratch.name).new())

    # stages

    def stage(self, index: int, stage: Stage) -> None:
        """Build one."""
        state = self._base(index, stage)
        self._states[index] = state
        if stage.name:
            self._names[stage.name] = index
        for step in stage.steps:
            try:
                self._step(state, step, index)
            except MobyshellError as error:
                where = f"line {step.line}: " if step.line else ""
                error.args = (f"{where}{step.text:.80}: {error}",)
                error.message = error.args[0]
                raise

    def _base(self, index: int, stage: Stage) -> _State:
        platform = parse_platform(stage.platform) if stage.platform else host_platform()
        if stage.base == SCRATCH:
            key = key_of(_FORMAT, SCRATCH, str(platform))
            return _State(key, ImageProcess(), platform=platform)
        earlier = stage_of(stage.base, self._names, index)
        if earlier is not None:
            found = self._states[earlier]
            return _State(found.key, found.process, list(found.layers), list(found.history),
                          platform=found.platform)  # fmt: skip
        resolved = self._image(stage.base, platform)
        layers = [
            Layer(one, diff_id)
            for one, diff_id in zip(resolved.layers, resolved.config.diff_ids, strict=True)
        ]
        key = key_of(_FORMAT, resolved.manifest.config.digest)
        return _State(key, resolved.config.config or ImageProcess(), layers,
                      history_of(resolved.config), platform=resolved.config.platform)  # fmt: skip

    def _image(self, name: str, platform: Any) -> Resolved:
        full = str(parse_reference(name))
        try:
            found = self._held.store.images.get(full)
        except NotFound as error:
            raise NotFound(f"there is no image {full} here",
                           hint=error.hint or f"mobyshell image pull {name}") from None  # fmt: skip
        return resolve(self._content, found.target, matcher(platform))

    def finish(self, index: int) -> Descriptor:
        """The image of a stage: configuration and manifest in the content."""
        state = self._states[index]
        process = state.process
        if self._options.labels:
            process = replace(process, labels={**(process.labels or {}), **self._options.labels})
        config = ImageConfig(
            architecture=state.platform.architecture, os=state.platform.os,
            variant=state.platform.variant, created=self._time(), config=process,
            rootfs=RootFS(type="layers", diff_ids=tuple(one.diff_id for one in state.layers)),
            history=tuple(state.history),
        )  # fmt: skip
        resolved = self._resolved(state, config)
        self._keep(resolved.manifest.config, dump_image(config), ())
        self._keep(resolved.descriptor, dump_image(resolved.manifest), resolved.manifest.children)
        unpack(self._held.store, resolved, snapshotter=self._snapshots.name)
        return resolved.descriptor

    def _resolved(self, state: _State, config: ImageConfig) -> Resolved:
        manifest = Manifest(
            schema_version=2, media_type=media_types.OCI_MANIFEST,
            config=describe(dump_image(config), media_types.OCI_CONFIG),
            layers=tuple(one.descriptor for one in state.layers),
        )  # fmt: skip
        described = describe(dump_image(manifest), media_types.OCI_MANIFEST)
        return Resolved(described, manifest, config)

    def _keep(self, one: Descriptor, data: bytes, children: Sequence[Descriptor]) -> None:
        labels = child_labels(children)
        try:
            with self._content.writer(f"build-{one.digest}", expected=one.digest,
                                      patience=60) as ingest:  # fmt: skip
                ingest.write(data, 0)
                ingest.commit(one.size, one.digest, labels)
        except AlreadyExists:
            if labels:
                self._content.update(one.digest, dict(labels))

    def _time(self) -> str:
        epoch = self._options.epoch
        now = self._held.store.scope.clock.now_ns()
        return rfc3339(epoch * 1_000_000_000 if epoch is not None else now)

    # steps

    def _step(self, state: _State, step: Step, index: int) -> None:
        if isinstance(step, Argument):
            state.arguments[step.name] = step.value
            return
        if isinstance(step, Set):
            state.process = with_set(state.process, step)
            state.own_cmd = state.own_cmd or step.member == "cmd"
            if step.member == "entrypoint" and not state.own_cmd:
                # what the base would run is no argument of this
                state.process = replace(state.process, cmd=None)
        elif isinstance(step, Workdir):
            path = joined(state.process.working_dir or "/", step.path)
            state.process = replace(state.process, working_dir=path)
            with self._below(state) as below:
                there = below.stat(path) is not None
            if not there:
                made = Write(text=step.text, line=step.line, path=path, content=None, mode=0o755)
                self._layer(state, step, key_of(state.key, "workdir", path),
                            lambda scratch: scratch.write(made))  # fmt: skip
                return
        elif isinstance(step, (Run, Copy, Programs, Write)):
            self._files(state, step, index)
            return
        elif not isinstance(step, Shell):
            raise AssertionError(step)
        state.key = key_of(state.key, type(step).__name__, image_to_json(state.process))
        state.history.append(self._history(step, empty=True))
        self._options.told(step.text, False)

    def _files(self, state: _State, step: Run | Copy | Programs | Write, index: int) -> None:
        if isinstance(step, Run):
            self._run(state, step)
        elif isinstance(step, Copy):
            with self._source(step, index) as source:
                digest = digest_of(source, step.paths)
                key = key_of(state.key, "copy", step.paths, step.target, step.owner, step.mode,
                             state.process.working_dir, digest)  # fmt: skip
                workdir = state.process.working_dir or "/"
                self._layer(state, step, key, lambda scratch: scratch.copy(step, source, workdir))
        elif isinstance(step, Programs):
            # what this machine has may have changed: it is read each time
            self._layer(state, step, "", lambda scratch: scratch.programs(step))
        else:
            key = key_of(state.key, "write", step.path, step.content, step.mode, step.owner)
            self._layer(state, step, key, lambda scratch: scratch.write(step))

    def _layer(
        self, state: _State, step: Step, key: str, fill: Callable[[Scratch], object]
    ) -> None:
        """A layer of files. An empty key: not cached, but named by what came out."""
        layer = self._cache.find(key) if key and self._options.cached else None
        cached = layer is not None
        if layer is None:
            self._count += 1
            place = self._scratch / str(self._count)
            with self._below(state) as below:
                scratch = Scratch(place, below, Owning(self._owners))
                fill(scratch)
                scratch.finish()
                what = key or key_of(state.key, step.text)
                layer = self._written(what, lambda fd: self._diff(place, fd))
        self._add(state, step, key or key_of(state.key, layer.diff_id), layer, cached=cached)

    def _run(self, state: _State, step: Run) -> None:
        network = step.network if step.network not in ("", "default") else self._options.network
        env = {**state.arguments, **environment_of(state.process)}
        key = key_of(state.key, "run", step.args, env, state.process.user,
                     state.process.working_dir, network)  # fmt: skip
        layer = self._cache.find(key) if self._options.cached else None
        cached = layer is not None
        if layer is None:
            self._options.told(step.text, False)
            layer = self._ran(key, state, step, env, network)
        else:
            self._options.told(step.text, True)
        self._add(state, step, key, layer, cached=cached, told=True)

    def _ran(
        self, key: str, state: _State, step: Run, env: Mapping[str, str], network: str
    ) -> Layer:
        self._unpacked(state)
        chain = state.chain
        scratch = f"build-{self._held.store.scope.clock.new_id()}"
        self._snapshots.prepare(scratch, chain[-1] if chain else "")
        try:
            running.run(self._held, scratch, self._snapshots, step.args, env, state.process, network,
                        self._options.output)  # fmt: skip
            return self._written(
                key,
                lambda fd: write_layer(self._snapshots, scratch, fd, compression=Compression.GZIP,
                                       newest=self._newest(), enter=self._owners.enter),
            )  # fmt: skip
        finally:
            with suppress(NotFound):
                self._snapshots.remove(scratch)

    def _diff(self, place: Path, output: int) -> Written:
        nothing = self._scratch / "nothing"
        nothing.mkdir(exist_ok=True)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        lower, upper = os.open(nothing, flags), os.open(place, flags)
        try:
            with LayerWorker(enter=self._owners.enter) as worker:
                return worker.diff_trees(lower, upper, output, compression=Compression.GZIP,
                                         newest=self._newest())  # fmt: skip
        finally:
            os.close(lower)
            os.close(upper)

    def _newest(self) -> float | None:
        return None if self._options.epoch is None else float(self._options.epoch)

    def _written(self, key: str, write: Callable[[int], Written]) -> Layer:
        """What `write` writes into a descriptor, as a blob. The step's key names the ingest: what a
        killed build left of it the next one writes over."""
        with self._content.writer(f"build-{key}", patience=PATIENCE) as ingest:
            ingest.truncate()
            done = write(ingest.fd)
            ingest.adopt(Digest(done.digest), done.size)
            with suppress(AlreadyExists):
                ingest.commit(done.size, Digest(done.digest))
        digest, diff_id = Digest(done.digest), Digest(done.diff_id)
        return Layer(
            Descriptor(media_type=media_types.OCI_LAYER_GZIP, digest=digest, size=done.size),
            diff_id,
        )

    def _add(
        self, state: _State, step: Step, key: str, layer: Layer, *, cached: bool, told: bool = False
    ) -> None:
        if not cached:
            self._cache.keep(key, layer, step.text)
        state.key = key
        state.layers.append(layer)
        state.history.append(self._history(step, empty=False))
        if not told:
            self._options.told(step.text, cached)

    def _history(self, step: Step, *, empty: bool) -> History:
        return History(created=self._time(), created_by=step.text, comment="mobyshell",
                       empty_layer=True if empty else None)  # fmt: skip

    # trees

    def _unpacked(self, state: _State) -> None:
        """Have the snapshot of a state: its layers unpacked."""
        if not state.layers:
            return
        with suppress(NotFound):
            self._snapshots.claim(state.chain[-1])
            return
        config = ImageConfig(
            architecture=state.platform.architecture, os=state.platform.os,
            rootfs=RootFS(type="layers", diff_ids=tuple(one.diff_id for one in state.layers)),
        )  # fmt: skip
        resolved = self._resolved(state, config)
        self._keep(resolved.manifest.config, dump_image(config), ())
        unpack(self._held.store, resolved, snapshotter=self._snapshots.name)

    @contextmanager
    def _below(self, state: _State) -> Iterator[Below]:
        if not state.layers:
            yield Below(None)
            return
        with self._tree(state) as stack:
            yield Below(stack)

    @contextmanager
    def _tree(self, state: _State) -> Iterator[Stack]:
        self._unpacked(state)
        place = self._snapshots.directories(state.chain[-1])
        with Stack([place.directory, *place.lowers]) as stack:
            yield stack

    @contextmanager
    def _source(self, step: Copy, index: int) -> Iterator[Source]:
        if not step.source:
            if self._context is None:
                if self._options.context is None:
                    raise UsageError("there is no directory to copy from")
                self._context = Directory(self._options.context)
                self._stack.callback(self._context.close)
            yield self._context
            return
        earlier = stage_of(step.source, self._names, index)
        if earlier is not None:
            state = self._states[earlier]
        else:
            resolved = self._image(step.source, host_platform())
            layers = [Layer(one, diff_id) for one, diff_id in
                      zip(resolved.layers, resolved.config.diff_ids, strict=True)]  # fmt: skip
            state = _State("", ImageProcess(), layers, platform=resolved.config.platform)
        if not state.layers:
            raise NotFound(f"there is nothing in {step.source}")
        with self._tree(state) as stack:
            yield Tree(stack, step.source)
