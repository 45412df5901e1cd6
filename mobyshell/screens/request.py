"""What a person asked for, as a value; and how sure they must be before it is done. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobyshell.commands.arguments import parse
from mobyshell.commands.output import clean
from mobyshell.commands.registry import DESTROY, Verb, lookup

# verbs that take over the terminal when they are not told to stay in the background
_FOREGROUND = frozenset({"task run", "task exec", "task attach", "ns enter", "bundle run",
                         "container run", "container start"})  # fmt: skip

_KILL = 9


@dataclass(frozen=True, slots=True)
class Request:
    """A verb with its arguments, ready to run, and the words it was made from."""

    verb: Verb
    arguments: dict[str, Any]
    words: tuple[str, ...]

    @property
    def in_foreground(self) -> bool:
        """Whether it wants the terminal."""
        return self.verb.name in _FOREGROUND and not self.arguments.get("detach")

    @property
    def subjects(self) -> list[str]:
        """What it acts on."""
        first = self.verb.positional[:1]
        value = self.arguments.get(first[0].name) if first else None
        return (
            list(value) if isinstance(value, tuple) else [value] if isinstance(value, str) else []
        )

    @property
    def destroys(self) -> bool:
        """Whether it takes away what cannot be had back."""
        return self.verb.effect == DESTROY

    @property
    def ends_a_life(self) -> bool:
        """Whether it takes something that lives, or files, and nothing can refuse it any more."""
        return bool(
            self.verb.confirm or self.verb.name == "task stop"
            or (self.verb.name == "task delete" and self.arguments.get("force"))
            or (self.verb.name == "task kill" and self.arguments.get("signal") == _KILL)
        )  # fmt: skip


def request(words: Sequence[str]) -> Request:
    """The request that `words` say. UsageError if they say none."""
    verb, rest = lookup(list(words))
    return Request(verb, parse(verb, rest), tuple(words))


def word_to_type(wanted: Sequence[Request]) -> str:
    """What must be typed before these are done: the (first) id where there are several of them, or
    where one of them lives; "" where a plain yes will do.
    """
    subjects = [subject for one in wanted for subject in one.subjects]
    if subjects and (len(subjects) > 1 or any(one.ends_a_life for one in wanted)):
        return subjects[0].rstrip("/").rpartition("/")[2]
    return ""


def question(wanted: Sequence[Request]) -> str:
    """`task delete --force a, b?`"""
    subjects = [subject for one in wanted for subject in one.subjects]
    verb = wanted[0].verb.name
    if wanted[0].verb.name == "task kill":
        verb += f" -{wanted[0].arguments['signal']}"
    if wanted[0].arguments.get("force"):
        verb += " --force"
    names = ", ".join(subjects[:5]) + (
        f" and {len(subjects) - 5} more" if len(subjects) > 5 else ""
    )
    return f"{verb} {names}?"


def summary_of(wanted: Sequence[Request]) -> str:
    """What the verb does, and what being forced adds to that."""
    verb = wanted[0].verb
    forced = [one.help for one in verb.parameters if one.name == "force"]
    more = [f"--force: {one}." for one in forced if wanted[0].arguments.get("force")]
    return " ".join([verb.summary, *more])


def plan_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The steps of a plan: what is done (`what`; or `where` what, `verb`), by which `calls` (or
    `shell`), and `why`."""
    lines: list[str] = []
    for row in rows:
        what = row.get("what") or f"{row['where']}: {row['verb']}"
        lines.append(f"{row['n']}  {clean(what)}")
        calls = str(row.get("calls") or row.get("shell") or "")
        lines += [f"   {clean(call)}" for call in calls.split("; ") if call]
        lines += [f"   {clean(row['why'])}", ""]
    return "\n".join(lines[:-1])
