"""Plans stored for `quick`: what a bundle of one shape becomes, flat, below the state root.

Owns which plans can be stored, and how: a shape is remembered when it is seen the second time, and
only if the plan made of it, with the values put in, is the plan that was made of the bundle itself.
Entries are for their owner alone, written by rename, a bounded number of them. Losing one costs
some time.
"""

from __future__ import annotations

import copy
import marshal
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import constants as c
from mobyshell.core.oci import Process, Spec, load_spec
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.create import Container, Stdio
from mobyshell.core.runtime.exec_planner import make_exec_plan
from mobyshell.core.runtime.operations.calls import AGENT
from mobyshell.core.runtime.plan import (
    Actor,
    Arg,
    Call,
    Data,
    Operation,
    Phase,
    Plan,
    Scratch,
    Text,
    Vector,
)
from mobyshell.core.runtime.runtime import Runtime
from mobyshell.core.runtime.seccomp import SeccompCompiler
from mobyshell.core.runtime.streams import with_owned
from mobyshell.core.runtime.values import Options
from mobyshell.runc import bundle as bundles
from mobyshell.runc import quick, quick_exec, stored
from mobyshell.runc import shape as shapes
from mobyshell.runc.flat import TELLS_LENGTH, container_entry, exec_entry
from mobyshell.runc.shape import MARK, Shape, filled, pieces

KEPT = 64
"""Entries below one root."""

# namespaces that a process in between would have to make
_UNFIT = c.CLONE_NEWUSER | c.CLONE_NEWTIME


@dataclass(frozen=True, slots=True)
class Seen:
    """What a plan is made from here on: the bundle's shape, and the key of its entry."""

    shape: Shape
    material: bytes


def seen(root: Path, bundle: str, keyring: bool) -> Seen | None:
    """Look at a bundle before a plan is made of it; None where none is stored."""
    if os.uname().machine != "x86_64" or quick.EXECUTOR in os.environb:
        return None
    try:
        shape = shapes.read(bundle)
        return Seen(shape, stored.key(str(root), shape.document, keyring))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def remember(
    runtime: Runtime, container: Container, spec: Spec, options: Options, before: Seen | None
) -> None:
    """Store the plan of a container that was just made, if `quick` could have made it.

    `before` is what it was made from.
    """
    root, bundle = str(runtime.root), container.bundle
    try:
        # still the same: what was changed meanwhile may be in the plan or not
        if before is None or seen(runtime.root, bundle, options.keyring) != before:
            return
        if not _seen(root, before.material):
            return
        options = with_owned(options, Stdio(0, 1, 2), spec.process)
        general = bundles.of(copy.deepcopy(before.shape.document))
        top = f"/{shapes.place(shapes.BUNDLE)}"
        plan = runtime.plan(stored.ID, top, spec=general, options=options)
        actual = runtime.plan(stored.ID, bundle, spec=spec, options=options)
        if fit(plan, general, options) and same(plan, before.shape.values, actual):
            entry = container_entry(runtime, plan, general)
            more = {"key": before.material, "owned": options.owned}
            _store(root, before.material, entry | more)
    except (OSError, ValueError, MobyshellError):
        return  # no room, no right, no words for it: then without


def same(general: Plan, values: Sequence[str], actual: Plan) -> bool:
    """Whether the plan of a shape is another one, but for the values in its places."""

    def put(text: str) -> str:
        return filled(pieces(text), values) if MARK in text else text

    def decided(plan: Plan) -> tuple[object, ...]:
        return (plan.clone_flags, plan.terminal, plan.attended, plan.unit, plan.agent, plan.handed)

    groups = {name: put(path) for name, path in general.cgroups.items()}
    parts = ((one.actor, one.phase, _calls(one, put)) for one in general.operations)
    others = ((one.actor, one.phase, _calls(one, str)) for one in actual.operations)
    return (
        decided(general) == decided(actual)
        and groups == actual.cgroups
        and put(general.rootfs) == actual.rootfs
        and list(parts) == list(others)
    )


def _calls(operation: Operation, put: Callable[[str], str]) -> list[Call]:
    """An operation's calls with texts as `put` makes them, and lengths of texts by these."""

    def arg(one: Arg) -> Arg:
        if isinstance(one, Text):
            return Text(put(one.value), one.template)
        if isinstance(one, Vector):
            return Vector(tuple(put(word) for word in one.values))
        if isinstance(one, Scratch):
            return replace(one, name=put(one.name))
        if isinstance(one, Data) and one.pointers:
            pointers = ((at, arg(target)) for at, target in one.pointers)
            return replace(one, pointers=tuple(pointers))  # type: ignore[arg-type]
        return one

    def call(one: Call) -> Call:
        args = tuple(arg(each) for each in one.args)
        if one.name == TELLS_LENGTH and isinstance(args[0], Text):
            args = (args[0], len(args[0].value.encode()))
        return replace(one, args=args)

    return [call(one) for one in operation.calls]


def remember_exec(
    runtime: Runtime, id: str, process: Process, options: Options, words: tuple[list[str], str]
) -> None:
    """Store the plan of a process that was just executed in container `id`, if `quick_exec` could
    have done it. `words`: its arguments, or else the file that describes it."""
    root = str(runtime.root)
    try:
        if os.uname().machine != "x86_64" or quick.EXECUTOR in os.environb:
            return
        pid, _, groups = quick_exec.state_of(root, id)
        args, path = words
        material = quick_exec.key(root, id, args, quick_exec.described(path), list(groups))
        if not _seen(root, material):
            return
        options = with_owned(options, Stdio(0, 1, 2), process)
        spec = load_spec(states.directory(runtime.root, id))
        plan = make_exec_plan(
            spec, process, id=stored.ID, bundle=states.read(runtime.root, id).bundle,
            host=runtime.host, cgroups=groups, compile_seccomp=SeccompCompiler(), options=options,
        )  # fmt: skip
        if _fit_exec(plan, groups, options):
            entry = exec_entry(plan, process, spec, pid)
            _store(root, material, entry | {"key": material, "owned": options.owned})
    except (OSError, ValueError, MobyshellError):
        return


def _fit_exec(plan: Plan, groups: dict[str, str], options: Options) -> bool:
    """Whether all that is to be done before there is a process is to open its cgroups."""
    opened = [
        arg.value
        for _, one in plan.of(Actor.PARENT)
        for call in one.calls
        for arg in call.args
        if isinstance(arg, Text) and call.name == "openat"
    ]
    calls = [call for _, one in plan.of(Actor.PARENT) for call in one.calls]
    entered = [f"{path}/tasks" for name, path in groups.items() if name]
    return (
        sorted(opened) == sorted([*entered, *(groups[name] for name in groups if not name)])
        and [one for one in opened if one in entered] == entered
        and len(calls) == len(opened)
        and not (plan.terminal or plan.agent or plan.attended or options.kept)
        # of what is left out each call warns
        and not any(one.startswith("ignoring ") for one in plan.notices)
    )


def fit(plan: Plan, spec: Spec, options: Options) -> bool:
    """Whether the launcher and `quick` can do all of it: no hooks, no terminal, nothing to be
    handed over or joined, nothing that the parent must do meanwhile.

    A child that asks for something all the same (a mount point behind a link, a tmpfs like what it
    covers) finds that its socket is a pipe, and fails: then the library does it.
    """
    kinds = {one.type: one.path for one in (spec.linux.namespaces or ())} if spec.linux else {}
    parts = [one for _, one in (*plan.of(Actor.PARENT), *plan.of(Actor.CHILD))]
    calls = [call for one in parts for call in one.calls]
    asks_agent = any(call.args[:1] == (AGENT,) for call in calls)
    return not (
        plan.terminal or plan.attended or plan.handed or plan.clone_flags & _UNFIT
        or spec.hooks or spec.process is None or options.kept or options.directories or not options.pivot
        or kinds.get("pid", "-") or any(kinds.values())
        or plan.of(Actor.PARENT, Phase.ATTACH) or plan.of(Actor.CHILD, Phase.JOIN)
        or asks_agent or any(one.startswith("ignoring ") for one in plan.notices)
        or any(call.name.startswith("@") and call.name != "@clone3" for call in calls)
    )  # fmt: skip


def _seen(root: str, material: bytes) -> bool:
    """Whether this is at least the second time; remembered if it is the first."""
    directory = Path(root) / stored.DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    mark = directory / f"{stored.name_of(material)}.seen"
    if mark.exists():
        return True
    _make_room(directory)
    mark.touch(mode=0o600)
    return False


def _make_room(directory: Path) -> None:
    entries = sorted(directory.iterdir(), key=lambda one: one.lstat().st_mtime_ns)
    for one in entries[: max(0, len(entries) - 2 * KEPT)]:
        one.unlink(missing_ok=True)


def _store(root: str, material: bytes, entry: dict[str, object]) -> None:
    data = marshal.dumps(entry, 2)
    path = Path(root) / stored.DIRECTORY / stored.name_of(material)
    states.write_file(path, bytes.fromhex(stored.name_of(data)) + data)
