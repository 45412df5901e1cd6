"""A running container's class of service: what it may use changed, what it uses told.

How a class is made is the plan's (`operations/resctrl`), what of it goes at the end `own_class`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mobyshell.core.errors import Unsupported
from mobyshell.core.linux import resctrl as kernel
from mobyshell.core.linux.resctrl import Resctrl
from mobyshell.core.oci import dump_spec, load_spec
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.operations import resctrl as operations


def change(root: Path, id: str, resctrl: Resctrl | None, *, cache: str, bandwidth: str) -> None:
    """Write other schemas for the class of container `id`; "" leaves one as it is.

    Unsupported where there is no resctrl, the processor lacks it, or the container has no class;
    SyscallFailed, with the kernel's reason, for what it refuses.
    """
    if cache and not (resctrl and resctrl.has("L3", "L3CODE")):
        raise Unsupported("Intel RDT/CAT: l3 cache schema is not enabled")
    if bandwidth and not (resctrl and resctrl.has("MB", "SMBA")):
        raise Unsupported("Intel RDT/MBA: memory bandwidth schema is not enabled")
    path = states.directory(root, id)
    spec = load_spec(path)
    linux = spec.linux
    if linux is None or linux.intel_rdt is None or resctrl is None:
        raise Unsupported("updating a non-existent Intel RDT configuration is not supported")
    asked = replace(
        linux.intel_rdt,
        l3_cache_schema=cache or linux.intel_rdt.l3_cache_schema,
        mem_bw_schema=bandwidth or linux.intel_rdt.mem_bw_schema,
    )
    kernel.write_schemata(operations.path_of(asked, resctrl, id), operations.lines_of(asked))
    changed = replace(spec, linux=replace(linux, intel_rdt=asked))
    states.write_file(path / states.CONFIG, dump_spec(changed).encode())


def places(root: Path, id: str, resctrl: Resctrl | None) -> tuple[str, str] | None:
    """(the class's directory, the one that counts) of container `id`; None if it has no class."""
    spec = load_spec(states.directory(root, id))
    asked = spec.linux.intel_rdt if spec.linux else None
    if asked is None or resctrl is None:
        return None
    path = operations.path_of(asked, resctrl, id)
    return path, operations.monitored(asked, path, id) or path
