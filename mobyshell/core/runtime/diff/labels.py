"""The labels of the init and of the filesystems made for it, as the security modules tell them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mobyshell.core.linux import lsm, procfs
from mobyshell.core.linux.mount_options import parse_options
from mobyshell.core.linux.mounts import MountInfo, read_mountinfo
from mobyshell.core.oci import Spec
from mobyshell.core.runtime.diff.words import line, listed, unknown
from mobyshell.core.runtime.operations.mounts import UNLABELLED
from mobyshell.core.runtime.refusals import asked_labels
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Difference


def label_lines(spec: Spec, state: State, *, started: bool) -> Iterator[Difference]:
    """Only of labels that the spec has. `started`: its program runs, and has its own."""
    running = lsm.active()
    process = spec.process
    for module, label, path in asked_labels(process) if process and started else ():
        if module.key not in running:
            yield unknown(path, label, f"this kernel does not run {module.key}")
        else:
            yield _of_program(module, label, path, state.pid)
    mounted = spec.linux.mount_label if spec.linux is not None else None
    if mounted and lsm.SELINUX.key not in running:
        yield unknown("linux.mountLabel", mounted, "this kernel does not run selinux")
    elif mounted:
        yield _of_files(mounted, spec, state)


def _of_program(module: lsm.Module, label: str, path: str, pid: int) -> Difference:
    file = module.file.removeprefix("/proc/self/").replace("exec", "current")
    try:
        text = procfs.read_file(pid, file).decode(errors="replace").rstrip("\0\n ")
    except OSError:
        return unknown(path, label, "not shown to this user")
    if module is lsm.SELINUX:
        return line(path, label, text)
    # `name (mode)`, but for unconfined
    name, _, mode = text.partition(" (")
    return line(path, label, name, f"in mode {mode.rstrip(')')}" if mode else "")


def _of_files(label: str, spec: Spec, state: State) -> Difference:
    """One line for all of them."""
    table = {one.mount_point: one for one in read_mountinfo(state.pid)}
    without = []
    for one in spec.mounts or ():
        options = parse_options(one.options or ())
        found = table.get(os.path.normpath("/" + one.destination.strip("/")))
        if options.bind or options.remount or one.type in UNLABELLED or found is None:
            continue
        if _context(found) != label:
            without.append(one.destination)
    if not without:
        return line("linux.mountLabel", label, label)
    return line("linux.mountLabel", label, f"not on {listed(without)}")


def _context(found: MountInfo) -> str:
    """The label in a filesystem's options, which has quotes if there are commas in it."""
    text = ",".join(found.super_options).partition("context=")[2]
    return text[1:].partition('"')[0] if text.startswith('"') else text.partition(",")[0]
