"""A profile in speedscope's format: https://www.speedscope.app/file-format-schema.json.

A sampled profile for each thread, its stacks ordered as they were found, with their time as weight.
"""

from __future__ import annotations

from typing import Any

from mobyshell.core.debug.values import Frame, Profile, Stack, visible

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def speedscope(profile: Profile) -> dict[str, Any]:
    """The file as JSON values."""
    numbers: dict[Frame, int] = {}
    labels: dict[str, list[Stack]] = {}
    for stack in profile.stacks:
        labels.setdefault(stack.label, []).append(stack)
    profiles = [_thread(label, stacks, numbers) for label, stacks in labels.items()]
    return {
        "$schema": SCHEMA,
        "name": f"process {profile.pid}, {profile.seconds:.1f} s ({profile.clock})",
        "exporter": "mobyshell",
        "activeProfileIndex": 0,
        "shared": {"frames": [_frame(frame) for frame in numbers]},
        "profiles": profiles or [_thread("main", [], numbers)],
    }


def _thread(label: str, stacks: list[Stack], numbers: dict[Frame, int]) -> dict[str, Any]:
    return {
        "type": "sampled", "name": visible(label), "unit": "nanoseconds", "startValue": 0,
        "endValue": sum(stack.ns for stack in stacks),
        "samples": [
            [numbers.setdefault(frame, len(numbers)) for frame in stack.frames] for stack in stacks
        ],
        "weights": [stack.ns for stack in stacks],
    }  # fmt: skip


def _frame(frame: Frame) -> dict[str, Any]:
    told: dict[str, Any] = {"name": visible(frame.name)}
    if frame.file:
        told |= {"file": visible(frame.file), "line": max(1, frame.line)}
    return told
