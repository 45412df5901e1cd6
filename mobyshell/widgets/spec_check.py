"""What there is to say about the text of a config.json. Pure; for long texts it takes a while."""

from __future__ import annotations

from dataclasses import dataclass

from mobyshell.commands.output import clean
from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci import Problem, Spec, check, parse_spec, warnings_of
from mobyshell.core.oci.safejson import read_json
from mobyshell.widgets.positions import Places

SHOWN = 200
"""Problems and warnings that are listed at most."""


@dataclass(frozen=True, slots=True)
class Examination:
    """The spec in `text` (None: there is none), what is wrong with it, what is discouraged in it,
    and where everything stands."""

    text: str
    spec: Spec | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    places: Places

    @property
    def found(self) -> tuple[Problem, ...]:
        """Problems, then warnings."""
        return (*self.problems, *self.warnings)[:SHOWN]

    @property
    def lines(self) -> list[str]:
        """A line for each of `found`."""
        wrong = len(self.problems)
        return [clean(f"{'✗' if n < wrong else '!'} {one}") for n, one in enumerate(self.found)]

    def verdict(self, *, brief: bool) -> list[str]:
        """How it is, in words for a title; `brief` leaves out what goes without saying."""
        if self.problems:
            return [_count(len(self.problems), "problem")]
        warned = [_count(len(self.warnings), "warning")] if self.warnings else []
        return warned if brief and warned else ["valid", *warned]

    def next_place(self, after: tuple[int, int]) -> tuple[int, int] | None:
        """The place of the first problem after a place, or of the first of all; else of warnings."""
        wanted = self.problems or self.warnings
        places = [self.places.place_of(one.path) or (0, 0) for one in wanted[:SHOWN]]
        later = [place for place in places if place > after]
        return min(later or places, default=None)


NOTHING = Examination("", None, (), (), Places(""))


def examine(text: str) -> Examination:
    """Judge a text."""
    places = Places(text)
    try:
        problems = check(read_json(text))
        if problems:
            return Examination(text, None, tuple(problems), (), places)
        spec = parse_spec(text)
        return Examination(text, spec, (), tuple(warnings_of(spec)), places)
    except InvalidSpec as error:
        one = Problem("", error.message, error.hint or "a config.json", "config.md")
        return Examination(text, None, (one,), (), places)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
