"""update: other limits for a container that is there already.

Owns the order of the writes and their undoing; what the members of `linux.resources` mean in
control files is in core/linux/cgroup_limits.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobyshell.core.errors import (
    InvalidSpec,
    MobyshellError,
    Refused,
    SyscallFailed,
    Unsupported,
    UsageError,
    WrongState,
)
from mobyshell.core.events import EventSink, TaskUpdated
from mobyshell.core.linux import cgroups
from mobyshell.core.linux.cgroup_limits import DEFAULT_RULES, given
from mobyshell.core.oci import Resources, Spec, dump_spec, load_spec, parse_spec, spec_to_json
from mobyshell.core.oci.kinds import table
from mobyshell.core.runtime import groups
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.runtime.values import Status


def update(
    root: Path, id: str, resources: Mapping[str, Any], *, host: Host, sink: EventSink
) -> Steps[None]:
    """Write `resources` (`linux.resources` of the runtime spec, as JSON values) over what is set.

    Only members that are given change, and a 0 gives nothing where it is no limit.
    A write that the kernel refuses undoes those before it.
    WrongState, UsageError for nothing at all, InvalidSpec,
    Unsupported for a controller that this machine lacks, SyscallFailed for what the kernel refuses.
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
    resources = _without_limit(spec, given(resources))
    merged = _merge(spec, resources)
    writes = groups.checked(_with_partners(resources, merged), host, state.cgroups)
    _check_usage(state.cgroups, resources)
    if "" in state.cgroups:
        cgroups.enable(
            state.cgroups[""], {one.needs for one in writes if not one.controller and one.needs}
        )
    change = _Change(state.cgroups)
    if state.unit:
        before = groups.resources_of(spec.linux) if spec.linux else {}
        _tell_systemd(state, host, _with_partners(resources, merged))
        change.also(lambda: _tell_systemd(state, host, before))
    change.make(writes)
    if resources.get("devices") and groups.filters_devices(state.cgroups):
        from mobyshell.core.linux import device_filter

        rules = (*resources["devices"], *DEFAULT_RULES)
        with change.undone_on_error():
            device_filter.attach(state.cgroups[""], device_filter.program(rules))
    states.write_file(path / states.CONFIG, dump_spec(merged).encode())
    sink(id, TaskUpdated(changed=dict(resources)))
    yield from ()  # in steps, as all verbs: this one never waits


def _without_limit(spec: Spec, resources: Mapping[str, Any]) -> Mapping[str, Any]:
    """Memory without a limit cannot keep one for memory and swap: that goes, too, as with runc."""
    memory = resources.get("memory")
    if not isinstance(memory, Mapping) or memory.get("limit") != -1 or "swap" in memory:
        return resources
    known = groups.resources_of(spec.linux) if spec.linux else {}
    if (known.get("memory") or {}).get("swap") is None:
        return resources
    return {**resources, "memory": {**memory, "swap": -1}}


def _tell_systemd(state: states.State, host: Host, resources: Mapping[str, Any]) -> None:
    from mobyshell.core.runtime import systemd

    systemd.change(state.unit, resources, v2=host.cgroup_mode == "v2", owner=state.owner)


def _with_partners(resources: Mapping[str, Any], merged: Spec) -> dict[str, Any]:
    """What is given, and what shares a control file of v2 with it: quota and period are one value
    of cpu.max, and what memory.swap means depends on memory.limit."""
    whole = dict(resources)
    known = groups.resources_of(merged.linux) if merged.linux else {}
    for family, partners in (("cpu", {"quota", "period"}), ("memory", {"limit", "swap"})):
        one = whole.get(family)
        if isinstance(one, Mapping) and partners & set(one):
            before = known.get(family, {})
            whole[family] = {**{key: before[key] for key in partners & set(before)}, **one}
    return whole


def _merge(spec: Spec, resources: Mapping[str, Any]) -> Spec:
    """The spec with these limits in it, checked as a whole."""
    import json

    unknown = sorted(set(resources) - set(_members()))
    if unknown:
        raise InvalidSpec(
            f"limits: no such member of linux.resources: {', '.join(map(repr, unknown)):.200}",
            hint=f"there are {', '.join(_members())}",
        )
    document = spec_to_json(spec)
    known: dict[str, Any] = document.setdefault("linux", {}).setdefault("resources", {})
    for key, value in resources.items():
        if isinstance(value, Mapping) and isinstance(known.get(key), dict):
            known[key] = {**known[key], **value}
        else:
            known[key] = value
    try:
        return parse_spec(json.dumps(document), "limits")
    except (TypeError, ValueError):
        raise InvalidSpec("the limits are not JSON values") from None


def _members() -> tuple[str, ...]:
    return tuple(name for name, *_ in table(Resources))


def _check_usage(paths: Mapping[str, str], resources: Mapping[str, Any]) -> None:
    """memory.checkBeforeUpdate: rather refuse than have the kernel kill (config-linux.md#memory)."""
    memory = resources.get("memory") or {}
    limit = memory.get("limit")
    if not memory.get("checkBeforeUpdate") or not limit or limit < 0:
        return
    if "memory" in paths:
        used = int(cgroups.read(paths["memory"], "memory.usage_in_bytes"))
    else:
        used = int(cgroups.read(paths[""], "memory.current"))
    if used > limit:
        raise Refused(
            f"the container uses {used} bytes of memory, more than the new limit of {limit}",
            hint="the kernel would kill it: choose a higher limit, or leave checkBeforeUpdate out",
        )


class _Change:
    """Writes that all happen, or none."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = paths
        self._undo: list[tuple[str, str, str]] = []
        self._last: list[Callable[[], None]] = []

    def also(self, undo: Callable[[], None]) -> None:
        """Something else to be done if the writes are taken back."""
        self._last.append(undo)

    def make(self, writes: tuple[cgroups.Write, ...]) -> None:
        with self.undone_on_error():
            later = [write for write in writes if not self._write(write, patient=True)]
            for write in later:
                self._write(write, patient=False)

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Take back what was written so far if anything in here fails."""
        try:
            yield
        except BaseException:
            for directory, file, value in reversed(self._undo):
                try:
                    cgroups.write(directory, file, value)
                except SyscallFailed:
                    continue  # the first refusal is what the caller must hear of
            for undo in self._last:
                try:
                    undo()
                except MobyshellError:
                    continue
            raise

    def _write(self, write: cgroups.Write, *, patient: bool) -> bool:
        """False: not now, perhaps after the others.

        Pairs of limits may not contradict each other even for a moment (memory and memory + swap,
        quota and burst), and which one must go first depends on the values before.
        """
        directory = self._paths[write.controller]
        if not os.path.exists(f"{directory}/{write.file}"):
            if write.otherwise is not None:
                file, value = write.otherwise
                return self._write(replace(write, file=file, value=value, otherwise=None),
                                   patient=patient)  # fmt: skip
            if write.optional:
                return True
        before = _before(directory, write)
        try:
            cgroups.write(directory, write.file, write.value)
        except SyscallFailed as error:
            if patient and error.errno in (errno.EINVAL, errno.EBUSY):
                return False
            hint = error.hint
            if error.errno == errno.EBUSY and write.file.startswith("memory."):
                hint = "more memory is in use than that, and cannot be taken back"
            raise SyscallFailed(
                error.syscall, error.errno, path=error.path,
                what=f"{write.source or write.file} = {write.value}", hint=hint,
            ) from None  # fmt: skip
        self._undo += [(directory, file, value) for file, value in before]
        return True


def _before(directory: str, write: cgroups.Write) -> list[tuple[str, str]]:
    """What to write to have it as it is now again, in reverse order."""
    if write.file.startswith("devices."):
        rules = cgroups.read(directory, "devices.list").splitlines()
        return [*(("devices.allow", rule) for rule in reversed(rules)), ("devices.deny", "a")]
    try:
        now = cgroups.read(directory, write.file)
    except SyscallFailed:
        return []
    device, _, _ = write.value.partition(" ")
    if write.file == "rdma.max":
        return [(write.file, line) for line in now.splitlines() if line.startswith(f"{device} ")]
    if ":" in device:
        # a line for each device that has a limit; none is written as 0 (v1), or as max (v2)
        lines = [line for line in now.splitlines() if line.startswith(f"{device} ")]
        none = "rbps=max wbps=max riops=max wiops=max" if write.file == "io.max" else "0"
        return [(write.file, lines[0] if lines else f"{device} {none}")]
    if write.file in ("io.weight", "io.bfq.weight"):
        now = now.partition("\n")[0]
    if write.file == "memory.oom_control":
        now = now.partition("\n")[0].removeprefix("oom_kill_disable ")
    return [(write.file, now)]
