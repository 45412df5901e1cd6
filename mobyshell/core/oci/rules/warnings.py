"""What is allowed, but not as it was meant: told as warnings (runtime.md#warnings)."""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.oci.kinds import Problem
from mobyshell.core.oci.process import CAPABILITIES
from mobyshell.core.oci.rules.common import Rule
from mobyshell.core.oci.safejson import show
from mobyshell.core.oci.spec import Spec


def destinations(spec: Spec) -> Iterator[Problem]:
    """A mount's destination should be absolute; for old tools, a relative one is taken from /."""
    for index, one in enumerate(spec.mounts or ()):
        if not one.destination.startswith("/"):
            yield Problem(f"mounts[{index}].destination", show(one.destination),
                          "an absolute path; a relative one is deprecated and taken as relative to /",
                          "config.md#mounts")  # fmt: skip


def process(spec: Spec) -> Iterator[Problem]:
    """Without one a container can be created, and never be started."""
    if spec.process is None:
        yield Problem("process", "nothing", "what `start` runs; without it a container can only be "
                      "created", "config.md#process")  # fmt: skip


def capabilities(spec: Spec) -> Iterator[Problem]:
    """Names the kernel does not have are ignored; ambient ones need two other sets."""
    sets = spec.process.capabilities if spec.process else None
    if sets is None:
        return
    section = "config.md#linux-process"
    for name in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        for index, one in enumerate(getattr(sets, name) or ()):
            path = f"process.capabilities.{name}[{index}]"
            if one not in CAPABILITIES:
                yield Problem(path, show(one), "a name of capabilities(7); it is ignored", section)
            elif name == "ambient" and not (
                one in (sets.permitted or ()) and one in (sets.inheritable or ())
            ):
                yield Problem(path, show(one), "one that is permitted and inheritable; "
                              "it is not raised", section)  # fmt: skip


def hooks(spec: Spec) -> Iterator[Problem]:
    """prestart was split in three."""
    number = len(spec.hooks.prestart or ()) if spec.hooks else 0
    if number:
        yield Problem("hooks.prestart", f"{number} hook{'s'[: number != 1]}",
                      "createRuntime, createContainer or startContainer; prestart is deprecated",
                      "config.md#prestart")  # fmt: skip


def personality(spec: Spec) -> Iterator[Problem]:
    """The spec has the member, but no value for it."""
    one = spec.linux.personality if spec.linux else None
    if one and one.flags:
        yield Problem("linux.personality.flags", show(list(one.flags)), "none so far; ignored",
                      "config-linux.md#personality")  # fmt: skip


def devices(spec: Spec) -> Iterator[Problem]:
    """One device, one node."""
    seen: dict[tuple[str, int | None, int | None], int] = {}
    for index, one in enumerate((spec.linux.devices if spec.linux else None) or ()):
        if one.type == "p":
            continue
        first = seen.setdefault((one.type.replace("u", "c"), one.major, one.minor), index)
        if first != index:
            yield Problem(f"linux.devices[{index}]", f"the same numbers as [{first}]",
                          "each device once", "config-linux.md#devices")  # fmt: skip


RULES: tuple[Rule, ...] = (destinations, process, capabilities, hooks, personality, devices)
