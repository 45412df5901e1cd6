"""From words to a verb's arguments. Owns the grammar of options, and how each kind is read.

`--name value`, `--name=value`, `-n value`, `-nvalue`, `-dt` for switches together (and `-9`, `-KILL`
where a verb sends signals, as kill(1) has it); options stand
anywhere before a command. That begins after `--`, or with the first word after the positional ones
(`run IMAGE sh -c …`), and has its options to itself; for greedy verbs (`task exec ID COMMAND…`) it
begins after the positional words even if it looks like an option.
"""

from __future__ import annotations

from mobyshell.commands import registry as r
from mobyshell.commands.registry import Parameter, Verb
from mobyshell.core.errors import UsageError

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from typing import Any


def parse(verb: Verb, words: list[str]) -> dict[str, Any]:
    """The arguments of `verb` in `words`, by name, each as its kind says.

    UsageError for an unknown option, one too many or too few, or a word that its kind refuses.
    """
    reader = _Reader(verb)
    reader.read(list(words))
    return reader.finish()


def own_words(verb: Verb, given: list[str]) -> tuple[int, bool]:
    """How many positional words of `verb` stand in `given`, its words so far; and whether the last
    of them is an option whose value is still to come."""
    valued = {flag for one in verb.parameters if not one.switch for flag in one.flags}
    count, waiting = 0, False
    for word in given:
        if waiting:
            waiting = False
        elif word.startswith("--"):
            waiting = word in valued
        elif word.startswith("-") and len(word) > 1:
            takes = next((at for at in range(1, len(word)) if f"-{word[at]}" in valued), 0)
            waiting = bool(takes) and takes == len(word) - 1
        else:
            count += 1
    return count, waiting


class _Reader:
    def __init__(self, verb: Verb) -> None:
        self.verb = verb
        self.flags = {flag: one for one in verb.parameters for flag in one.flags}
        self.signal = next(
            (one for one in verb.parameters if one.flags and one.kind == r.SIGNAL), None
        )
        self.values: dict[str, Any] = {}
        self.loose: list[str] = []
        self.rest: list[str] = []

    def read(self, words: list[str]) -> None:
        needed = len(self.verb.positional)
        endless = any(one.many for one in self.verb.positional)
        while words:
            word = words.pop(0)
            if word == "--":
                self._take_rest(words)
                return
            if word.startswith("--"):
                self._long(word, words)
            elif self.signal is not None and _is_signal(word):
                self.values[self.signal.name] = convert(self.signal, word[1:])
            elif word.startswith("-") and len(word) > 1 and not _is_number(word):
                self._short(word, words)
            elif self.verb.rest is not None and not endless and len(self.loose) == needed:
                self.rest = [word, *words]
                return
            else:
                self.loose.append(word)
                if self.verb.greedy and len(self.loose) == needed:
                    self._take_rest(words[1:] if words[:1] == ["--"] else words)
                    return

    def _take_rest(self, words: list[str]) -> None:
        if self.verb.rest is None:
            self.loose += words
        else:
            self.rest = words

    def _long(self, word: str, words: list[str]) -> None:
        flag, given, value = word.partition("=")
        parameter = self._find(flag)
        if parameter.switch:
            if given:
                raise UsageError(f"{self.verb.name}: {flag} takes no value")
            self.values[parameter.name] = True
        else:
            self._value(parameter, flag, value if given else None, words)

    def _short(self, word: str, words: list[str]) -> None:
        letters = word[1:]
        while letters:
            flag, letters = f"-{letters[0]}", letters[1:]
            parameter = self._find(flag)
            if parameter.switch:
                self.values[parameter.name] = True
                continue
            self._value(parameter, flag, letters.removeprefix("=") or None, words)
            return

    def _find(self, flag: str) -> Parameter:
        parameter = self.flags.get(flag)
        if parameter is None:
            from mobyshell.commands import foreign

            close = [one for one in self.flags if len(flag) > 2 and one.startswith(flag)]
            hint = foreign.option(self.verb.name, flag)
            if not hint and close:
                hint = f"did you mean {close[0]}?"
            elif not hint and self.verb.rest is not None and self.loose:
                hint = "an option of the command itself goes after --"
            elif not hint:
                hint = f"usage: mobyshell {self.verb.short_usage}"
            raise UsageError(f"{self.verb.name}: unknown option {_show(flag)}", hint=hint)
        return parameter

    def _value(self, parameter: Parameter, flag: str, value: str | None, words: list[str]) -> None:
        if value is None:
            if not words:
                raise UsageError(
                    f"{self.verb.name}: {flag} needs a value", hint=f"{flag} {parameter.metavar}"
                )
            value = words.pop(0)
        read = convert(parameter, value)
        if parameter.many:
            self.values.setdefault(parameter.name, []).append(read)
        else:
            self.values[parameter.name] = read

    def finish(self) -> dict[str, Any]:
        positional, loose = self.verb.positional, list(self.loose)
        usage = f"usage: mobyshell {self.verb.short_usage}"
        for parameter in positional:
            if parameter.many:
                if parameter.required and not loose:
                    raise UsageError(
                        f"{self.verb.name}: {parameter.metavar} is missing", hint=usage
                    )
                self.values[parameter.name] = [convert(parameter, word) for word in loose]
                loose = []
            elif loose:
                self.values[parameter.name] = convert(parameter, loose.pop(0))
            elif parameter.required:
                raise UsageError(f"{self.verb.name}: {parameter.metavar} is missing", hint=usage)
        if loose:
            raise UsageError(f"{self.verb.name}: unexpected word {_show(loose[0])}", hint=usage)
        if self.verb.rest is not None:
            self.values[self.verb.rest.name] = self.rest
            if any("\0" in word for word in self.rest):
                raise UsageError(f"{self.verb.name}: the command holds a NUL byte", hint=usage)
            if self.verb.rest.required and not self.rest:
                raise UsageError(f"{self.verb.name}: the command is missing", hint=usage)
        for parameter in self.verb.parameters:
            value = self.values.setdefault(parameter.name, parameter.default)
            if parameter.many or parameter.rest:
                self.values[parameter.name] = tuple(value)
        return self.values


def _is_number(word: str) -> bool:
    return _is_digits(word[1:])


def _is_signal(word: str) -> bool:
    """Whether it is one as kill(1) takes it: -9, -KILL."""
    return word[:1] == "-" and (_is_digits(word[1:]) or (word[1:].isupper() and len(word) > 2))


def _is_digits(word: str) -> bool:
    """ASCII's: other scripts' digits are numbers to Python, and to nobody else here."""
    return word.isascii() and word.isdecimal()


def _is_decimal(word: str) -> bool:
    """Digits, perhaps with a point among them."""
    return _is_digits(word.replace(".", "", 1))


def _show(word: str) -> str:
    text = "".join(ch if ch.isprintable() else "?" for ch in word)
    return repr(text if len(text) <= 60 else text[:59] + "…")


_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def convert(parameter: Parameter, word: str) -> Any:
    """`word` as the parameter's kind reads it. UsageError if it cannot be."""
    if "\0" in word:
        raise UsageError(f"{parameter.metavar} holds a NUL byte")
    if parameter.choices and word not in parameter.choices:
        raise UsageError(
            f"{parameter.metavar} {_show(word)} is unknown",
            hint=f"one of {', '.join(parameter.choices)}",
        )
    kind = parameter.kind
    if kind in (r.NUMBER, r.PID):
        if not _is_digits(word.removeprefix("-")) or len(word) > 18:
            raise UsageError(f"{parameter.metavar} {_show(word)} is not a number")
        return int(word)
    if kind == r.SECONDS:
        return _seconds(parameter, word)
    if kind == r.SIZE:
        return parse_size(word, parameter.metavar)
    if kind == r.SIGNAL:
        return parse_signal(word)
    if kind in (r.TASK, r.WHERE, r.RUNNABLE):
        from mobyshell.core.oci.ids import check_id

        for part in word.split(",") if kind == r.WHERE else (word,):
            check_id(part)
    elif kind in (r.CONTAINER, r.TENANT):
        from mobyshell.core.store.names import check_identifier

        check_identifier(word, "container" if kind == r.CONTAINER else "namespace")
    elif kind == r.LEASE:
        from mobyshell.core.store.names import check_name

        check_name(word, "lease")
    elif not word and kind in (r.BUNDLE, r.FILE):
        raise UsageError(f"{parameter.metavar} is empty")
    return word


def _seconds(parameter: Parameter, word: str) -> float:
    factor = 1.0
    number = word
    for suffix, seconds in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if word.endswith(suffix):
            number, factor = word.removesuffix(suffix), seconds
            break
    value = float(number) * factor if _is_decimal(number) else -1.0
    if not 0 <= value < 1e9:
        raise UsageError(f"{parameter.metavar} {_show(word)} is not a duration",
                         hint="as in 5, 1.5s, 10m")  # fmt: skip
    return value


def parse_size(word: str, what: str = "SIZE") -> int:
    """Bytes: 64M, 1.5g, 4096; -1 for no limit. Units are powers of 1024."""
    low = word.lower().removesuffix("ib") if len(word) > 2 else word.lower()
    if low[-2:-1] in tuple("kmgt"):  # 64mb, as 64m
        low = low.removesuffix("b")
    unit = low[-1:] if low[-1:].isalpha() else ""
    number = low.removesuffix(unit) if unit else low
    if low == "-1":
        return -1
    value = float(number) * _UNITS.get(unit, -1) if _is_decimal(number) else -1.0
    if not 0 <= value < 2**63:
        raise UsageError(f"{what} {_show(word)} is not a size", hint="as in 64M, 1.5G or 4096")
    return int(value)


def parse_signal(word: str) -> int:
    """A signal by number or name, with or without SIG, in any case."""
    import signal

    if _is_digits(word) and len(word) < 4:
        if 0 <= int(word) <= signal.SIGRTMAX:
            return int(word)
    else:
        name = word.upper() if word.upper().startswith("SIG") else f"SIG{word.upper()}"
        base, plus, offset = name.partition("+")
        found = getattr(signal, base, None) if base.isalnum() else None
        if isinstance(found, int) and (not plus or _is_digits(offset)):
            number = int(found) + (int(offset[:4]) if plus else 0)
            if number <= signal.SIGRTMAX:
                return number
    raise UsageError(f"unknown signal {_show(word)}", hint="a number, or a name such as TERM")
