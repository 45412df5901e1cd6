"""What a step says about the image instead of its tree. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mobyshell.core.oci.image_config import History, ImageConfig, ImageProcess
from mobyshell.moby.build.steps import Set


def history_of(config: ImageConfig) -> list[History]:
    """The base's steps, with one for each layer that it says nothing of: steps are matched with
    layers by counting."""
    told = list(config.history or ())
    unknown = len(config.diff_ids) - sum(not one.empty_layer for one in told)
    return [*([History(comment="of the base")] * max(0, unknown)), *told]


def dated(history: Sequence[History], otherwise: str) -> tuple[History, ...]:
    """With a time for the steps that made no layer ("" until now): that of the step before, or else of
    the next that has one. So what was built before is the same image again."""
    known = next((one.created for one in history if one.created), otherwise)
    done = []
    for one in history:
        known = one.created or known
        done.append(replace(one, created=known) if one.created == "" else one)
    return tuple(done)


def environment_of(process: ImageProcess) -> dict[str, str]:
    """The variables by their names."""
    return dict(one.partition("=")[::2] for one in process.env or ())


def joined(base: str, path: str) -> str:
    """A working directory, seen from the one before."""
    return posixpath.normpath(posixpath.join(base, path))


def with_set(process: ImageProcess, step: Set) -> ImageProcess:
    """The configuration with one member changed; see `Set`."""
    value: Any = step.value
    if step.member == "env":
        merged = {**environment_of(process), **value}
        value = tuple(f"{name}={text}" for name, text in merged.items())
    elif step.member == "labels":
        value = {**(process.labels or {}), **value}
    elif step.member == "on_build":
        value = (*(process.on_build or ()), *value)
    elif isinstance(value, frozenset):
        value = (getattr(process, step.member) or frozenset()) | value
    return replace(process, **{step.member: value})
