"""Regular expressions that cannot be made to run for ever.

Filters come from users and from clients of the API, and what they are matched against comes from
images. Python's `re` backtracks: `(a+)+$` and thirty letters keep it busy for minutes. Go's,
whose syntax containerd's filters have, looks at each character of the value once. So does this:
the expression becomes a set of states (Thompson's construction), all of which are followed at
once. It answers only whether there is a match, which is all that a filter asks.

Known: literals, `.`, `[…]` with ranges and classes, `\\d \\w \\s \\D \\W \\S \\b \\B`, `^ $ \\A \\z`,
groups (with names, or `(?:…)`), `(?i)` and `(?s)` at the beginning, `|`, `* + ?` and `{m,n}`, lazy
or not. What Go's does not have (look-around, references back) is refused here, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mobyshell.core.errors import UsageError

LONGEST = 1024
"""Characters of an expression."""
MOST_STATES = 1000
"""Of what repetitions may grow an expression to."""
MOST_REPEATS = 1000
"""The highest number in `{m,n}`: RE2's bound."""
DEEPEST = 50

_HARMLESS = r"(?:[A-Za-z0-9_/:@,=~ -]|\\?\.)*"
_QUICK = re.compile(rf"\^?{_HARMLESS}(?:\.[*+]{_HARMLESS})?\$?")
"""What Python's `re` understands as Go's does, and can at most square the time of."""

_Test = Callable[[str], bool]


@dataclass(slots=True)
class _State:
    """`test`: goes on to `next` by one character; `edge`: goes on where that holds between two
    characters; neither: goes on to all of `next` at once. The last state has no `next`."""

    test: _Test | None = None
    edge: str = ""
    next: list[int] = field(default_factory=list)


def _is_word(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")


_CLASSES: dict[str, _Test] = {
    "d": lambda c: c.isascii() and c.isdigit(),
    "w": _is_word,
    "s": lambda c: c in "\t\n\f\r ",
}
_POSIX: dict[str, _Test] = {
    "alnum": lambda c: c.isascii() and c.isalnum(),
    "alpha": lambda c: c.isascii() and c.isalpha(),
    "digit": _CLASSES["d"],
    "lower": lambda c: c.isascii() and c.islower(),
    "upper": lambda c: c.isascii() and c.isupper(),
    "space": lambda c: c in "\t\n\v\f\r ",
    "punct": lambda c: c.isascii() and c.isprintable() and not c.isalnum() and c != " ",
    "xdigit": lambda c: c in "0123456789abcdefABCDEF",
    "word": _is_word,
}
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_EDGES = {"b": "b", "B": "B", "A": "^", "z": "$"}


class Regex:
    """A compiled expression."""

    __slots__ = ("_accept", "_quick", "_start", "_states", "pattern")

    def __init__(self, pattern: str, states: list[_State], start: int, accept: int) -> None:
        self.pattern, self._states, self._start, self._accept = pattern, states, start, accept
        self._quick: re.Pattern[str] | None = None
        if _QUICK.fullmatch(pattern):
            body, dollar, _ = pattern.partition("$")
            self._quick = re.compile(body + (r"\Z" if dollar else ""))

    def search(self, text: str) -> bool:
        """Whether it matches anywhere in `text`. Time: at most length times states."""
        if self._quick is not None:
            return self._quick.search(text) is not None
        current: set[int] = set()
        for at in range(len(text) + 1):
            before = text[at - 1] if at else ""
            after = text[at] if at < len(text) else ""
            # a match may begin at every character
            current = self._closure([*current, self._start], before, after)
            if self._accept in current:
                return True
            states = self._states
            current = {
                states[one].next[0]
                for one in current
                if (test := states[one].test) is not None and after and test(after)
            }
        return False

    def _closure(self, pending: list[int], before: str, after: str) -> set[int]:
        """What is reached without a character."""
        found: set[int] = set()
        while pending:
            number = pending.pop()
            if number in found:
                continue
            found.add(number)
            state = self._states[number]
            if state.test is None and (not state.edge or _holds(state.edge, before, after)):
                pending += state.next
        return found


def _holds(edge: str, before: str, after: str) -> bool:
    if edge == "^":
        return not before
    if edge == "$":
        return not after
    boundary = bool(before and _is_word(before)) != bool(after and _is_word(after))
    return boundary == (edge == "b")


def compile_regex(pattern: str) -> Regex:
    """The compiled `pattern`. UsageError says what of it is not understood."""
    if len(pattern) > LONGEST:
        raise UsageError(f"longer than {LONGEST} characters")
    compiler = _Compiler(pattern)
    start, end = compiler.alternatives(0)
    if compiler.at < len(pattern):
        raise UsageError("a ) without its (")
    return Regex(pattern, compiler.states, start, end)


class _Compiler:
    """Recursive descent; each part becomes a fragment: the numbers of its first and last state."""

    def __init__(self, pattern: str) -> None:
        self.pattern, self.at = pattern, 0
        self.states: list[_State] = []
        self.ignore_case = self.dot_all = False
        self._flags()

    def _flags(self) -> None:
        if self.pattern.startswith("(?") and (end := self.pattern.find(")")) > 2:
            letters = self.pattern[2:end]
            if set(letters) <= set("is"):
                self.ignore_case, self.dot_all = "i" in letters, "s" in letters
                self.at = end + 1

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _state(self, test: _Test | None = None, edge: str = "") -> int:
        if len(self.states) >= MOST_STATES:
            raise UsageError(f"its repetitions make more than {MOST_STATES} states of it")
        self.states.append(_State(test, edge))
        return len(self.states) - 1

    def _join(self, origin: int, *targets: int) -> None:
        self.states[origin].next += targets

    def _single(self, test: _Test | None = None, edge: str = "") -> tuple[int, int]:
        first, last = self._state(test, edge), self._state()
        self._join(first, last)
        return first, last

    def alternatives(self, depth: int) -> tuple[int, int]:
        if depth > DEEPEST:
            raise UsageError(f"groups nested deeper than {DEEPEST}")
        start, end = self._state(), self._state()
        while True:
            first, last = self._sequence(depth)
            self._join(start, first)
            self._join(last, end)
            if self._peek() != "|":
                return start, end
            self.at += 1

    def _sequence(self, depth: int) -> tuple[int, int]:
        start = end = self._state()
        while self._peek() not in ("", "|", ")"):
            first, last = self._repeated(depth)
            self._join(end, first)
            end = last
        return start, end

    def _repeated(self, depth: int) -> tuple[int, int]:
        began = self.at
        made = self._atom(depth)
        if not (bounds := self._bounds()):
            return made
        after = self.at
        low, high = bounds
        self._lazy()
        if self._peek() in ("*", "+", "?"):
            raise UsageError("a repetition of a repetition")
        after = self.at
        start = end = self._state()
        for number in range(low if high is None else high):
            # a copy is the same text compiled again
            first, last = made if number == 0 else self._again(began, depth)
            self._join(end, first)
            if number >= low:
                skip = self._state()
                self._join(end, skip)
                self._join(last, skip)
                last = skip
            end = last
        if high is None:
            first, last = made if low == 0 else self._again(began, depth)
            hub = self._state()
            self._join(end, hub)
            self._join(hub, first)
            self._join(last, hub)
            end = self._state()
            self._join(hub, end)
        self.at = after
        return start, end

    def _again(self, began: int, depth: int) -> tuple[int, int]:
        self.at = began
        return self._atom(depth)

    def _bounds(self) -> tuple[int, int | None] | None:
        character = self._peek()
        if character in ("*", "+", "?") and character:
            self.at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
        if character != "{":
            return None
        low, comma, high = self.pattern[self.at + 1 :].partition("}")[0].partition(",")
        closed = "}" in self.pattern[self.at :]
        if not closed or not _is_number(low) or (high and not _is_number(high)):
            return None  # as in Go: then it is a brace
        self.at = self.pattern.index("}", self.at) + 1
        least, most = int(low), int(high) if high else None if comma else int(low)
        if least > MOST_REPEATS or (most is not None and not least <= most <= MOST_REPEATS):
            raise UsageError(f"{{{low}{comma}{high}}} is no repetition; at most {MOST_REPEATS}")
        return least, most

    def _lazy(self) -> None:
        if self._peek() == "?":
            self.at += 1  # which match is taken does not matter here

    def _atom(self, depth: int) -> tuple[int, int]:
        character = self._peek()
        self.at += 1
        if character == "(":
            return self._group(depth)
        if character == "[":
            return self._single(self._set())
        if character == ".":
            dot_all = self.dot_all
            return self._single(lambda c: dot_all or c != "\n")
        if character in ("^", "$"):
            return self._single(edge=character)
        if character in ("*", "+", "?"):
            raise UsageError(f"{character} without what it repeats")
        if character == "\\":
            letter = self._peek()
            if letter in _EDGES and letter:
                self.at += 1
                return self._single(edge=_EDGES[letter])
            return self._single(self._escape())
        return self._single(self._literal(character))

    def _group(self, depth: int) -> tuple[int, int]:
        if self._peek() == "?":
            rest = self.pattern[self.at :]
            if rest.startswith("?:"):
                self.at += 2
            elif rest.startswith(("?P<", "?<")) and not rest.startswith(("?<=", "?<!")):
                end = self.pattern.find(">", self.at)
                if end < 0:
                    raise UsageError("a group's name without its end")
                self.at = end + 1
            else:
                raise UsageError(f"({rest[:3]} is not known")
        made = self.alternatives(depth + 1)
        if self._peek() != ")":
            raise UsageError("a ( without its )")
        self.at += 1
        return made

    def _literal(self, character: str) -> _Test:
        if self.ignore_case:
            folded = character.casefold()
            return lambda c: c.casefold() == folded
        return lambda c: c == character

    def _escape(self) -> _Test:
        """After a backslash that is no edge: a class, or one character."""
        letter = self._peek()
        if letter.lower() in _CLASSES and letter:
            self.at += 1
            test = _CLASSES[letter.lower()]
            return test if letter.islower() else lambda c: not test(c)
        return self._literal(self._escaped())

    def _escaped(self) -> str:
        letter = self._peek()
        self.at += 1
        if letter in _CONTROL and letter:
            return _CONTROL[letter]
        if letter == "x":
            digits = self.pattern[self.at : self.at + 2]
            if len(digits) == 2 and set(digits) <= set("0123456789abcdefABCDEF"):
                self.at += 2
                return chr(int(digits, 16))
            raise UsageError("\\x without two hexadecimal digits")
        if not letter or (letter.isascii() and letter.isalnum()):
            raise UsageError(f"\\{letter} is not known")
        return letter

    def _set(self) -> _Test:
        negated = self._peek() == "^"
        self.at += negated
        tests: list[_Test] = []
        first = True
        while first or self._peek() != "]":
            if not self._peek():
                raise UsageError("a [ without its ]")
            first = False
            tests.append(self._member())
        self.at += 1
        return lambda c: any(test(c) for test in tests) != negated

    def _member(self) -> _Test:
        if self.pattern.startswith("[:", self.at):
            name = self.pattern[self.at + 2 :].partition(":]")[0]
            if name not in _POSIX:
                raise UsageError(f"[:{name}:] is not known")
            self.at += len(name) + 4
            return _POSIX[name]
        if self._peek() == "\\" and self.pattern[self.at + 1 : self.at + 2].lower() in _CLASSES:
            self.at += 1
            return self._escape()
        low = self._set_character()
        if self._peek() != "-" or self.pattern[self.at + 1 : self.at + 2] in ("]", ""):
            return self._literal(low)
        self.at += 1
        high = self._set_character()
        if high < low:
            raise UsageError(f"the range {low}-{high} is empty")
        if self.ignore_case:
            return lambda c: any(low <= one <= high for one in (c, c.lower(), c.upper()))
        return lambda c: low <= c <= high

    def _set_character(self) -> str:
        character = self._peek()
        self.at += 1
        if character == "\\":
            return self._escaped()
        if not character:
            raise UsageError("a [ without its ]")
        return character


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 5
