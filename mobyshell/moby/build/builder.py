"""The builder: stages from their bases to images.

Owns the order of steps, the key of each, and what a step says of the image's configuration; how a
layer is written is `writing`'s, what a RUN sees `mounts`', where files come from `trees`'.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from mobyshell.core.clock import rfc3339
from mobyshell.core.errors import MobyshellError, SyscallFailed, UsageError
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.image_config import History, ImageConfig, ImageProcess, RootFS
from mobyshell.core.oci.image_spec import dump_image, image_to_json
from mobyshell.core.oci.platform import host_platform, parse_platform
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.store.unpack import unpack
from mobyshell.moby.build import running
from mobyshell.moby.build.cache import Cache, Layer, key_of
from mobyshell.moby.build.cloning import cloned
from mobyshell.moby.build.context import Source, digest_of
from mobyshell.moby.build.fetching import fetched
from mobyshell.moby.build.files import Below, Scratch
from mobyshell.moby.build.mounts import Mounts
from mobyshell.moby.build.options import Options
from mobyshell.moby.build.settings import dated, environment_of, history_of, joined, with_set
from mobyshell.moby.build.stages import wanted
from mobyshell.moby.build.state import State, layers_of
from mobyshell.moby.build.steps import (
    SCRATCH,
    Argument,
    Author,
    Copy,
    Programs,
    Run,
    Set,
    Stage,
    Step,
    Workdir,
    Write,
)
from mobyshell.moby.build.trees import Trees, assembled
from mobyshell.moby.build.writing import Writing

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant

_FORMAT = 2
"""Counts changes of how layers are made: what an older mobyshell has cached is another thing."""


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


def _about(step: Step, error: MobyshellError) -> MobyshellError:
    """The error, which says now in which step."""
    where = f"line {step.line}: " if step.line else ""
    error.args = (f"{where}{step.text:.80}: {error}",)
    error.message = error.args[0]
    return error


class _Builder:
    def __init__(self, held: Tenant, options: Options, stack: ExitStack) -> None:
        self._held, self._options = held, options
        self._snapshots = held.snapshotter(options.snapshotter)
        self._cache = Cache(held.store)
        newest = None if options.epoch is None else float(options.epoch)
        self._writing = Writing(held, self._snapshots, newest, stack)
        self._trees = Trees(held, self._snapshots, options.context, options.ignore, stack)

    # stages

    def stage(self, index: int, stage: Stage) -> None:
        """Build one."""
        state = self._base(index, stage)
        self._trees.states[index] = state
        if stage.name:
            self._trees.names[stage.name] = index
        for step in stage.steps:
            try:
                self._step(state, step, index)
            except MobyshellError as error:
                raise _about(step, error) from error.__cause__
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                hint = "make room, or collect garbage: mobyshell store gc" if full else ""
                raise _about(step, SyscallFailed.of(error, "write", hint=hint)) from error

    def _base(self, index: int, stage: Stage) -> State:
        platform = parse_platform(stage.platform) if stage.platform else host_platform()
        if stage.base == SCRATCH:
            return State(key_of(_FORMAT, SCRATCH, str(platform)), ImageProcess(), platform)
        earlier = self._trees.stage(stage.base, index)
        if earlier is not None:
            process = replace(earlier.process, on_build=None)
            return State(earlier.key, process, earlier.platform, list(earlier.layers),
                         list(earlier.history), dict(earlier.arguments), earlier.author)  # fmt: skip
        image = self._trees.image(stage.base, platform)
        process = image.config.config or ImageProcess()
        if process.on_build and not stage.triggered:
            raise UsageError(f"{stage.base} has steps for who builds upon it (ONBUILD)",
                             hint="build upon it by a Dockerfile")  # fmt: skip
        key = key_of(_FORMAT, image.manifest.config.digest)
        return State(key, replace(process, on_build=None), image.config.platform, layers_of(image),
                     history_of(image.config), author=image.config.author)  # fmt: skip

    def finish(self, index: int) -> Descriptor:
        """The image of a stage: configuration and manifest in the content."""
        state = self._trees.states[index]
        process = state.process
        if self._options.labels:
            process = replace(process, labels={**(process.labels or {}), **self._options.labels})
        history = dated(state.history, self._time())
        config = ImageConfig(
            architecture=state.platform.architecture, os=state.platform.os,
            variant=state.platform.variant, author=state.author, config=process, history=history,
            created=max((one.created for one in history if one.created), default=self._time()),
            rootfs=RootFS(type="layers", diff_ids=tuple(one.diff_id for one in state.layers)),
        )  # fmt: skip
        image = assembled(state, config)
        self._trees.keep(image.manifest.config, dump_image(config), ())
        self._trees.keep(image.descriptor, dump_image(image.manifest), image.manifest.children)
        unpack(self._held.store, image, snapshotter=self._snapshots.name)
        return image.descriptor

    def _time(self, made: float | None = None) -> str:
        """When a layer was made, or now; the epoch, if there is one."""
        epoch = self._options.epoch
        now = self._held.store.scope.clock.now_ns()
        when = now if made is None else round(made * 1e6) * 1000  # no float has nanoseconds
        return rfc3339(epoch * 1_000_000_000 if epoch is not None else when)

    # steps

    def _step(self, state: State, step: Step, index: int) -> None:
        if isinstance(step, Argument):
            state.arguments[step.name] = step.value
            return
        if isinstance(step, Run):
            self._run(state, step, index)
        elif isinstance(step, Copy):
            self._copy(state, step, index)
        elif isinstance(step, Programs):
            # what this machine has may have changed: it is read each time
            self._layer(state, step, "", lambda scratch: scratch.programs(step))
        elif isinstance(step, Write):
            key = key_of(state.key, "write", step.path, step.content, step.mode, step.owner)
            self._layer(state, step, key, lambda scratch: scratch.write(step))
        elif isinstance(step, Workdir):
            self._workdir(state, step)
        else:
            self._set(state, step)

    def _set(self, state: State, step: Step) -> None:
        """A step that says something of the image, and changes no file."""
        if isinstance(step, Author):
            state.author = step.name
        elif isinstance(step, Set):
            state.process = with_set(state.process, step)
            state.own_cmd = state.own_cmd or step.member == "cmd"
            if step.member == "entrypoint" and not state.own_cmd:
                # what the base would run is no argument of this
                state.process = replace(state.process, cmd=None)
        told = [image_to_json(state.process), state.author]
        state.key = key_of(state.key, type(step).__name__, told)
        state.history.append(self._history(step, None))
        self._options.told(step.text, False)

    def _workdir(self, state: State, step: Workdir) -> None:
        path = joined(state.process.working_dir or "/", step.path)
        state.process = replace(state.process, working_dir=path)
        with self._trees.below(state) as below:
            there = below.stat(path) is not None
        if there:
            self._set(state, step)
            return
        user = state.process.user or ""
        made = Write(
            text=step.text, line=step.line, path=path, content=None, mode=0o755, owner=user
        )
        key = key_of(state.key, "workdir", path, user)
        self._layer(state, step, key, lambda scratch: scratch.write(made))

    def _copy(self, state: State, step: Copy, index: int) -> None:
        workdir = state.process.working_dir or "/"
        with ExitStack() as stack:
            source: Source | None = None
            digest, owner = "", step.owner
            urls: tuple[str, ...] = ()
            if step.repository:
                found = stack.enter_context(cloned(step.paths[0], step.checksum,
                                                   self._writing.place(), keep=step.keep_git))  # fmt: skip
                source, step = found.source, replace(step, paths=(found.path,), unpack=False)
            else:
                urls = tuple(path for path in step.paths if step.unpack and "://" in path)
                step = replace(step, paths=tuple(path for path in step.paths if path not in urls))
            if step.paths:
                source = source or stack.enter_context(self._trees.source(step.source, index))
                digest = digest_of(source, step.paths, step.excluded)
            pages = [stack.enter_context(fetched(url, step.checksum, self._writing.place()))
                     for url in urls]  # fmt: skip
            if step.link and owner:  # of what is below, only the ids of its names count
                with self._trees.below(state) as below:
                    owner = "{}:{}".format(*below.owner(owner))
            key = key_of(
                f"link {_FORMAT} {state.platform}" if step.link else state.key, "copy", step.paths,
                step.target, owner, step.mode, workdir, step.unpack, step.parents, step.excluded, digest,
                [(one.name, one.content) for one in step.files], [one.digest for one in pages],
            )  # fmt: skip
            self._layer(
                state, replace(step, owner=owner), key,
                lambda scratch: scratch.copy(step, source, workdir, [*step.files, *pages]),
                apart=step.link,
            )  # fmt: skip

    def _layer(
        self, state: State, step: Step, key: str, fill: Callable[[Scratch], object], *,
        apart: bool = False,
    ) -> None:  # fmt: skip
        """A layer of files. An empty key: not cached, but named by what came out. `apart`: it does not
        depend on what is below."""
        layer = self._cache.find(key) if key and self._options.cached else None
        cached, before = layer is not None, state.key
        if layer is None:
            with self._trees.below(state) as below:
                on = Below(None, accounts=below.stack) if apart else below
                layer = self._writing.filled(key or key_of(before, step.text), on, fill)
        self._add(state, step, key or key_of(before, layer.diff_id), layer, cached=cached)
        if apart:  # what follows depends on all that is below it
            state.key = key_of(before, key)

    def _run(self, state: State, step: Run, index: int) -> None:
        network = step.network if step.network not in ("", "default") else self._options.network
        if network == "host" and self._options.network != "host":
            raise UsageError("asks for the host's network", hint="allow it: --network host")
        env = {**state.arguments, **environment_of(state.process)}
        with ExitStack() as stack:
            mounts = Mounts(self._held, self._trees, self._writing, self._options, stack)
            more = mounts.look(step, state, index)
            key = key_of(state.key, "run", step.args, env, state.process.user,
                         state.process.working_dir, network, *more)  # fmt: skip
            layer = self._cache.find(key) if self._options.cached else None
            cached = layer is not None
            self._options.told(step.text, cached)
            if layer is None:
                layer = self._ran(key, state, running.Way(
                    args=step.args, env={**step.unseen, **env}, process=state.process,
                    network=network, mounts=mounts,
                ))  # fmt: skip
        self._add(state, step, key, layer, cached=cached, told=True)

    def _ran(self, key: str, state: State, way: running.Way) -> Layer:
        self._trees.unpacked(state)
        chain = state.chain
        with (
            self._trees.below(state) as below,
            self._writing.active(chain[-1] if chain else "") as active,
        ):
            running.run(self._held, active, self._snapshots, way, below, self._options.output)
            return self._writing.changed(key, active)

    def _add(
        self, state: State, step: Step, key: str, layer: Layer, *, cached: bool, told: bool = False
    ) -> None:
        if not cached:
            layer = self._cache.keep(key, layer, step.text)
        state.key = key
        state.layers.append(layer)
        state.history.append(self._history(step, layer))
        if not told:
            self._options.told(step.text, cached)

    def _history(self, step: Step, layer: Layer | None) -> History:
        return History(created=self._time(layer.made) if layer else "", created_by=step.text,
                       comment="mobyshell", empty_layer=None if layer else True)  # fmt: skip
