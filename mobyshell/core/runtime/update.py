"""update: other limits for a container that is there already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobyshell.core.errors import InvalidSpec, SyscallFailed, Unsupported, UsageError, WrongState
from mobyshell.core.events import EventSink, TaskUpdated
from mobyshell.core.linux import cgroups
from mobyshell.core.linux.cgroup_limits import limits_v1, limits_v2
from mobyshell.core.oci import Spec, dump_spec, load_spec, parse_spec, spec_to_json
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.runtime.values import Status


def update(
    root: Path, id: str, resources: Mapping[str, Any], *, mode: str, sink: EventSink
) -> Steps[None]:
    """Write `resources` (`linux.resources` of the runtime spec, as JSON values) over what is set.

    Only members that are given change. A write that the kernel refuses undoes those before it.
    `mode` is the host's cgroup mode. InvalidSpec, WrongState, Unsupported, SyscallFailed.
    """
    state = states.read(root, id)
    if states.status(root, state) is Status.STOPPED:
        raise WrongState(f"container not running: {id}")
    if not state.cgroups:
        raise Unsupported(f"container {id} has no cgroups", hint="run it as root")
    if not resources:
        raise UsageError("no limit is given", hint="for example --memory 64M or --pids-limit 100")
    path = states.directory(root, id)
    spec = load_spec(path)
    merged = _merge(spec, resources)
    writes = limits_v2(resources) if mode == "v2" else limits_v1(resources)
    writes = _ordered(state.cgroups, writes)
    done: list[tuple[str, str, str]] = []
    try:
        for write in writes:
            directory = state.cgroups.get(write.controller)
            if directory is None:
                raise Unsupported(
                    f"{write.source}: this machine has no {write.controller} controller"
                )
            before = _current(directory, write.file)
            cgroups.write(directory, write.file, write.value)
            if before is not None:
                done.append((directory, write.file, before))
    except BaseException:
        for directory, file, value in reversed(done):
            try:
                cgroups.write(directory, file, value)
            except SyscallFailed:
                continue  # the first refusal is what the caller must hear of
        raise
    states.write_file(path / states.CONFIG, dump_spec(merged).encode())
    sink(id, TaskUpdated(changed=dict(resources)))
    return
    yield


def _merge(spec: Spec, resources: Mapping[str, Any]) -> Spec:
    """The spec with these limits in it, checked as a whole."""
    assert spec.linux is not None
    document = spec_to_json(spec)
    known: dict[str, Any] = document["linux"].setdefault("resources", {})
    for key, value in resources.items():
        if isinstance(value, Mapping) and isinstance(known.get(key), dict):
            known[key] = {**known[key], **value}
        else:
            known[key] = value
    import json

    try:
        return parse_spec(json.dumps(document), "limits")
    except (TypeError, ValueError):
        raise InvalidSpec("the limits are not JSON values") from None


def _ordered(
    paths: Mapping[str, str], writes: tuple[cgroups.Write, ...]
) -> tuple[cgroups.Write, ...]:
    """v1 never lets memory be above memory + swap, not even between two writes."""
    names = [write.file for write in writes]
    limit, swap = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
    if limit in names and swap in names and "memory" in paths:
        now = int(cgroups.read(paths["memory"], swap))
        wanted = int(next(write.value for write in writes if write.file == limit))
        if wanted == -1 or wanted > now:
            first = [write for write in writes if write.file == swap]
            return (*first, *(write for write in writes if write.file != swap))
    return writes


def _current(directory: str, file: str) -> str | None:
    """The value to go back to; None for files that only take commands."""
    if file.startswith("devices."):
        return None
    try:
        return cgroups.read(directory, file)
    except SyscallFailed:
        return None
