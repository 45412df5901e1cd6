"""What a process tells of itself: frames, stacks, a profile; and their form on the wire.

Owns the limits of a profile, so that whatever a process does, an answer stays below what is read
from strangers (`safejson`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from mobyshell.core.errors import InvalidSpec

DEEPEST = 128
"""Frames of a stack: the innermost ones, below one that says how many are left out."""

MOST_STACKS = 4000
"""Different stacks of a profile; what comes beyond is counted as dropped."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A function: its qualified name, its file, the line where it begins (or, in a stack that was
    looked at once, where it is)."""

    name: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """`file:line`, from our package on, or from where Python looks for modules."""
        file = self.file
        for mark in ("/site-packages/", "/mobyshell/", "/lib/"):
            if mark in file:
                head = "mobyshell/" if mark == "/mobyshell/" else ""
                file = head + file.rpartition(mark)[2]
                break
        return f"{file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames, outermost first. `label`: whose; `ns`: how long it was there, in a profile."""

    label: str
    frames: tuple[Frame, ...]
    ns: int = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """Where the time went. `clock`: cpu or wall; `seconds`: how long it was watched; `samples`: how
    often it was looked; `dropped_ns`: the time of stacks that were too many to be told apart."""

    clock: str
    seconds: float
    samples: int
    stacks: tuple[Stack, ...]
    dropped_ns: int = 0
    pid: int = 0

    @property
    def ns(self) -> int:
        """The time of all stacks together."""
        return sum(stack.ns for stack in self.stacks)


Codes = tuple[CodeType, ...]


def codes_of(frame: FrameType | None) -> Codes:
    """The code of `frame` and its callers, innermost first. Called in a signal's handler: it makes
    nothing but a tuple."""
    found = []
    while frame is not None:
        found.append(frame.f_code)
        frame = frame.f_back
    return tuple(found)


def stacks_of(times: Mapping[tuple[str, Codes], int]) -> tuple[Stack, ...]:
    """Stacks by their time, longest first, of what was counted under (label, codes)."""
    found = [
        Stack(label, _shortened([frame_of(code, code.co_firstlineno) for code in reversed(codes)]), ns)
        for (label, codes), ns in times.items()
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda stack: -stack.ns))


def _shortened(frames: list[Frame]) -> tuple[Frame, ...]:
    over = len(frames) - DEEPEST
    if over <= 0:
        return tuple(frames)
    return (Frame(f"({over + 1} more)", "", 0), *frames[over + 1 :])


def frame_of(code: CodeType, line: int) -> Frame:
    """A frame of `code`. What is no Unicode in its names is escaped."""
    name, file = (
        one.encode("utf-8", "backslashreplace").decode()
        for one in (code.co_qualname[:200], code.co_filename[:400])
    )
    return Frame(name, file, line)


def visible(text: str) -> str:
    """`text` in one line, with nothing in it that XML has not or a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def to_wire(profile: Profile) -> dict[str, Any]:
    """The profile as JSON values: each frame stands once."""
    numbers: dict[Frame, int] = {}
    stacks = [
        {"label": stack.label, "ns": stack.ns,
         "frames": [numbers.setdefault(frame, len(numbers)) for frame in stack.frames]}
        for stack in profile.stacks
    ]  # fmt: skip
    return {
        "clock": profile.clock, "seconds": profile.seconds, "samples": profile.samples,
        "dropped_ns": profile.dropped_ns, "pid": profile.pid,
        "frames": [[frame.name, frame.file, frame.line] for frame in numbers], "stacks": stacks,
    }  # fmt: skip


def from_wire(wire: Any) -> Profile:
    """The profile that a process told. InvalidSpec if it is none."""
    try:
        frames = [Frame(str(name), str(file), int(line)) for name, file, line in wire["frames"]]
        stacks = [
            Stack(str(one["label"]), tuple(_pick(frames, one["frames"])), max(0, int(one["ns"])))
            for one in wire["stacks"]
        ]
        return Profile(str(wire["clock"]), float(wire["seconds"]), int(wire["samples"]),
                       tuple(stacks), int(wire["dropped_ns"]), int(wire["pid"]))  # fmt: skip
    except (KeyError, TypeError, ValueError, IndexError):
        raise InvalidSpec("the process answered something that is no profile") from None


def _pick(frames: list[Frame], numbers: Iterable[Any]) -> list[Frame]:
    picked = [int(number) for number in numbers]
    if picked and min(picked) < 0:
        raise IndexError
    return [frames[number] for number in picked]
