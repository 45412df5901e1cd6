"""The language of the REPL: from text to pipelines. Pure.

    line      = [ NAME "=" ] pipeline [ "#" comment ]
    pipeline  = stage { "|" stage } [ "|!" shell command ]
    stage     = words; quotes and backslashes as in POSIX sh

`${name}`, `${name.field}` and `${_}` are variables, also inside double quotes; they are put in by
`expand`, after the words are known, so that no value can become two words or a pipe.
"""

from __future__ import annotations

from dataclasses import dataclass

from mobyshell.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Word:
    """A word, as parts: text, and names of variables to be put in."""

    parts: tuple[tuple[bool, str], ...]  # (is a variable, text or name)

    @property
    def text(self) -> str:
        """The word if it has no variables."""
        return "".join(f"${{{text}}}" if variable else text for variable, text in self.parts)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages of words; `shell` is a command of the system's shell at the end, "" for none;
    `assign` the variable that takes the result."""

    stages: tuple[tuple[Word, ...], ...]
    shell: str = ""
    assign: str = ""


class Unfinished(UsageError):
    """The text ends inside a quote, after a backslash or after a pipe: more lines belong to it."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.stages: list[list[Word]] = [[]]
        self.parts: list[tuple[bool, str]] = []
        self.begun = False

    def scan(self) -> Pipeline | None:
        text = self.text
        while self.at < len(text):
            one = text[self.at]
            if one in " \t\n":
                self.end_word()
                self.at += 1
            elif one == "#" and not self.begun:
                newline = text.find("\n", self.at)
                self.at = len(text) if newline < 0 else newline
            elif one == "|":
                shell = self.pipe()
                if shell is not None:
                    return self.finish(shell)
            else:
                self.begun = True
                self.piece(one)
        self.end_word()
        return self.finish("")

    def pipe(self) -> str | None:
        """The shell command after `|!`; None for a pipe between verbs."""
        self.end_word()
        if self.text.startswith("|!", self.at):
            shell = self.text[self.at + 2 :].strip()
            if not shell:
                raise self.unfinished("a shell command must follow |!")
            return shell
        self.at += 1
        if not self.stages[-1]:
            raise UsageError(f"a command is missing before |{self.place(self.at - 1)}")
        self.stages.append([])
        return None

    def piece(self, one: str) -> None:
        if one == "'":
            end = self.text.find("'", self.at + 1)
            if end < 0:
                raise self.unfinished("a quote is not closed")
            self.add(self.text[self.at + 1 : end])
            self.at = end + 1
        elif one == '"':
            self.quoted()
        elif one == "\\":
            if self.at + 1 >= len(self.text):
                raise self.unfinished("the line ends with a backslash")
            follows = self.text[self.at + 1]
            if follows != "\n":
                self.add(follows)
            self.at += 2
        elif self.text.startswith("${", self.at):
            self.variable()
        else:
            self.add(one)
            self.at += 1

    def place(self, at: int) -> str:
        """Where that is, for the end of a message."""
        line = self.text.count("\n", 0, at) + 1
        column = at - (self.text.rfind("\n", 0, at) + 1) + 1
        return f" (column {column})" if line == 1 else f" (line {line}, column {column})"

    def unfinished(self, what: str) -> Unfinished:
        return Unfinished(what + self.place(self.at))

    def quoted(self) -> None:
        begin = self.at
        self.at += 1
        self.add("")
        while True:
            if self.at >= len(self.text):
                self.at = begin
                raise self.unfinished("a quote is not closed")
            one = self.text[self.at]
            if one == '"':
                self.at += 1
                return
            if one == "\\" and self.text[self.at + 1 : self.at + 2] in ('"', "\\", "$"):
                self.add(self.text[self.at + 1])
                self.at += 2
            elif self.text.startswith("${", self.at):
                self.variable()
            else:
                self.add(one)
                self.at += 1

    def variable(self) -> None:
        end = self.text.find("}", self.at)
        if end < 0:
            raise self.unfinished("${ is not closed")
        name = self.text[self.at + 2 : end]
        if not all(part.replace("-", "_").isidentifier() or part.isdecimal()
                   for part in name.split(".")):  # fmt: skip
            raise UsageError(f"not the name of a variable: {name!r:.60}{self.place(self.at)}",
                             hint="${name}, ${name.field} or ${name.0}")  # fmt: skip
        self.parts.append((True, name))
        self.at = end + 1

    def add(self, text: str) -> None:
        self.parts.append((False, text))

    def end_word(self) -> None:
        if self.begun:
            self.stages[-1].append(Word(tuple(self.parts)))
        self.parts, self.begun = [], False

    def finish(self, shell: str) -> Pipeline | None:
        if not self.stages[-1]:
            if len(self.stages) > 1:
                raise Unfinished("a command must follow |")
            if shell:
                raise UsageError("a command is missing before |!")
            return None
        assign = ""
        first = self.stages[0]
        if len(first) > 2 and first[1].text == "=" and first[0].text.isidentifier():
            assign = first[0].text
            self.stages[0] = first[2:]
        return Pipeline(tuple(tuple(stage) for stage in self.stages), shell, assign)


def parse(text: str) -> Pipeline | None:
    """The pipeline that `text` says; None for nothing but comments.

    Unfinished if more lines belong to it, UsageError if no line could mend it.
    """
    return _Scanner(text).scan()


def statements(text: str) -> list[tuple[int, str]]:
    """The statements of a script with the numbers of their first lines; each is complete, or the
    last one and unfinished."""
    found = []
    pending, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not pending:
            first = number
        pending += line
        try:
            parse(pending)
        except Unfinished:
            pending += "\n"
            continue
        except UsageError:
            pass  # complete, and wrong: whoever runs it says so
        if pending.strip():
            found.append((first, pending))
        pending = ""
    if pending.strip():
        found.append((first, pending))
    return found
