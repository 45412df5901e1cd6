"""The container's class of service against `linux.intelRdt`."""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.linux import resctrl as kernel
from mobyshell.core.linux.resctrl import Resctrl
from mobyshell.core.oci import Spec
from mobyshell.core.runtime.diff.words import line, unknown
from mobyshell.core.runtime.operations import resctrl as operations
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Difference


def class_lines(spec: Spec, state: State, there: Resctrl | None = None) -> Iterator[Difference]:
    """Who is in it, and what it may use; nothing for a container that asks for none. `there`: the
    machine's resctrl, looked for if it is not given."""
    asked = spec.linux.intel_rdt if spec.linux else None
    if asked is None:
        return
    there = there or kernel.detect()
    if there is None:
        yield unknown("linux.intelRdt", "a class of service", "resctrl is not mounted any more")
        return
    path = operations.path_of(asked, there, state.id)
    wanted = f"in {path}"
    inside = str(state.pid) in kernel.read(f"{path}/tasks").split()
    yield line("linux.intelRdt.closID", wanted, wanted if inside else "in another class")
    lines = operations.lines_of(asked)
    if lines:
        shown = ", ".join(lines)
        other = kernel.disagreement(path, lines, kernel.granularity(there.root))
        note = "one line for each resource, as the kernel rounds it"
        yield line("linux.intelRdt.schemata", shown, other or shown, note)
