"""Rules about limits: cgroups, cache allocation, memory policy (config-linux.md)."""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.oci.kinds import Problem
from mobyshell.core.oci.resources import Resources
from mobyshell.core.oci.rules.common import each
from mobyshell.core.oci.safejson import show
from mobyshell.core.oci.spec import Spec

_RESOURCES = "linux.resources"


def _resources(spec: Spec) -> Resources:
    found = spec.linux.resources if spec.linux else None
    return found or Resources()


def cgroups_path(spec: Spec) -> Iterator[Problem]:
    """No way out of the place in the hierarchy that it names."""
    path = spec.linux.cgroups_path if spec.linux else None
    if path and ".." in path.split("/"):
        yield Problem(
            "linux.cgroupsPath", show(path), "a path without ..", "config-linux.md#cgroups-path"
        )


def cpu(spec: Spec) -> Iterator[Problem]:
    """What can be saved up is no more than what a period has."""
    one = _resources(spec).cpu
    if one and one.burst and one.quota and one.burst > one.quota > 0:
        yield Problem(f"{_RESOURCES}.cpu.burst", str(one.burst), f"at most the quota, {one.quota}",
                      "config-linux.md#cpu")  # fmt: skip


def block_io(spec: Spec) -> Iterator[Problem]:
    """A device that is listed for its weight has one."""
    block = _resources(spec).block_io
    for index, one in each(block.weight_device if block else None):
        if one.weight is None and one.leaf_weight is None:
            yield Problem(f"{_RESOURCES}.blockIO.weightDevice[{index}]", "no weight",
                          "weight, leafWeight or both", "config-linux.md#block-io")  # fmt: skip


def rdma(spec: Spec) -> Iterator[Problem]:
    """A device that is listed has a limit."""
    for name, one in (_resources(spec).rdma or {}).items():
        if one is not None and one.hca_handles is None and one.hca_objects is None:
            yield Problem(f"{_RESOURCES}.rdma[{show(name)}]", "no limit",
                          "hcaHandles, hcaObjects or both", "config-linux.md#rdma")  # fmt: skip


def intel_rdt(spec: Spec) -> Iterator[Problem]:
    """The class is one directory of resctrl, or / for the default one."""
    one = spec.linux.intel_rdt if spec.linux else None
    section = "config-linux.md#intelrdt"
    if one is None:
        return
    name = one.clos_id
    if name and (name in (".", "..") or (len(name) > 1 and "/" in name)):
        yield Problem("linux.intelRdt.closID", show(name), "the name of one directory, or /",
                      section)  # fmt: skip
    if one.mem_bw_schema and not one.mem_bw_schema.startswith("MB:"):
        yield Problem("linux.intelRdt.memBwSchema", show(one.mem_bw_schema), "it begins with MB:",
                      section)  # fmt: skip


def memory_policy(spec: Spec) -> Iterator[Problem]:
    """set_mempolicy(2): which modes take nodes."""
    one = spec.linux.memory_policy if spec.linux else None
    if one is None:
        return
    path, section = "linux.memoryPolicy.nodes", "config-linux.md#memory-policy"
    if one.mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if one.nodes:
            yield Problem(path, show(one.nodes), f"none with {one.mode}", section)
    elif one.mode != "MPOL_PREFERRED" and not one.nodes:
        yield Problem(path, "nothing", f"at least one node with {one.mode}", section)
