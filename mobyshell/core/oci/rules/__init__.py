"""What the spec demands beyond types: one function a rule, each says where and why.

Pure. A rule looks at a spec whose types are right, or, so that all problems are told at once, at
what is right of a spec with wrong parts; those are None in it, and elements of arrays that are
None are passed over (`each`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mobyshell.core.oci.kinds import MOST, Problem
from mobyshell.core.oci.rules import mounts, namespaces, process, resources, seccomp, warnings
from mobyshell.core.oci.rules.common import Rule
from mobyshell.core.oci.spec import Spec

_NAMESPACES = ("linux.namespaces",)

# each rule with the members it draws conclusions from besides those it is about: where one of them
# is wrong itself, the conclusion would be too
_RULES: tuple[tuple[Rule, tuple[str, ...]], ...] = (
    (process.complete, ()),
    (process.environment, ()),
    (process.rlimits, ()),
    (process.scheduler, ()),
    (namespaces.names, _NAMESPACES),
    (mounts.mounts, ()),
    (mounts.id_mapped, _NAMESPACES),
    (mounts.paths, _NAMESPACES),
    (namespaces.once, ()),
    (namespaces.mappings, _NAMESPACES),
    (namespaces.time_offsets, _NAMESPACES),
    (namespaces.net_devices, _NAMESPACES),
    (namespaces.sysctls, _NAMESPACES),
    (resources.cgroups_path, ()),
    (resources.cpu, ()),
    (resources.block_io, ()),
    (resources.rdma, ()),
    (resources.intel_rdt, ()),
    (resources.memory_policy, ("linux.memoryPolicy",)),
    (mounts.devices, ()),
    (seccomp.seccomp, ()),
)


def apply_rules(spec: Spec, noted: Sequence[Problem] = ()) -> list[Problem]:
    """The rules that the spec breaks, as far as they do not follow from what is `noted` already."""
    wrong = [one.path for one in noted]
    found: list[Problem] = []
    for rule, reads in _RULES:
        if wrong and any(_touch(path, read) for path in wrong for read in reads):
            continue
        for problem in rule(spec):
            if len(wrong) + len(found) >= MOST:
                return found
            if not (wrong and any(_touch(problem.path, path) for path in wrong)):
                found.append(problem)
    return found


def warnings_of(spec: Spec) -> list[Problem]:
    """What the spec discourages, or wants a warning about instead of an error."""
    found: Iterator[Problem] = (one for rule in warnings.RULES for one in rule(spec))
    return [one for one, _ in zip(found, range(MOST), strict=False)]


def _touch(one: str, other: str) -> bool:
    """Whether one path is the other, or leads to it."""
    short, long = (one, other) if len(one) <= len(other) else (other, one)
    return long.startswith(short) and (not short or long[len(short) :][:1] in ("", ".", "["))
