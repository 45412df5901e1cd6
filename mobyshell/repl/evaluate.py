"""Running pipelines: variables in, verbs and filters through, the last result out.

Owns the variables and the rules: a line fails as a whole, its error and exit code are the
caller's to show. Knows no prompt.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

from mobyshell.commands import output
from mobyshell.commands import results as r
from mobyshell.commands.cli import Options, call, show
from mobyshell.commands.context import Context
from mobyshell.core.errors import UsageError
from mobyshell.repl.each import of_each, plain
from mobyshell.repl.parse import Pipeline, Word, parse
from mobyshell.repl.stages import FILTERS, compare, expect, is_comparison, is_index, shown

STARTERS = ("set", "echo", "assert", "help", "exit", "quit")
"""The REPL's own words that a line can begin with."""

CHECKS = ("assert", "expect")
BUILTINS = (*STARTERS, "expect", "each", *FILTERS)
"""Words that are the REPL's own."""


_REMEMBERED = 10_000
"""Items of a stream that `_` keeps."""


class Leave(Exception):
    """`exit`, with the code to leave with."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Evaluator:
    """Variables and the last result. `write` takes what a line prints."""

    def __init__(self, context: Context, options: Options) -> None:
        self.context, self.options = context, options
        self.variables: dict[str, Any] = {"_": None}
        self.code = 0

    def line(self, text: str) -> int:
        """Run one statement and return its exit code. Raises what its verbs raise, and Leave."""
        pipeline = parse(text)
        if pipeline is None:
            return self.code
        result = self._run(pipeline)
        if isinstance(result, r.Stream):
            self._stream(pipeline, result)
        elif isinstance(result, r.Bytes) and not pipeline.assign:
            self._give(pipeline, result)  # nothing to remember
        else:
            self.variables["_"] = plain(result)
            self._give(pipeline, result)
        return self.code

    def _give(self, pipeline: Pipeline, result: r.Result) -> None:
        """The result to where the line says: a variable, a command of the system's, the screen."""
        if pipeline.assign:
            self.variables[pipeline.assign] = plain(result)
            self.code = getattr(result, "code", 0)
        elif pipeline.shell:
            self.code = self._shell(pipeline.shell, result)
        else:
            self.code = show(result, self.options)

    def _stream(self, pipeline: Pipeline, result: r.Stream) -> None:
        """What comes one by one is shown as it comes, and remembered as far as it came."""
        last: deque[Any] = deque(maxlen=_REMEMBERED)

        def passing() -> Iterator[Any]:
            for item in result.items:
                last.append(output.to_plain(item))
                yield item

        try:
            self._give(pipeline, r.Stream(passing(), result.show, document=result.document))
        finally:
            self.variables["_"] = list(last)

    # stages

    def _run(self, pipeline: Pipeline) -> r.Result:
        result: r.Result | None = None
        for stage in pipeline.stages:
            words = [self.expand(word) for word in stage]
            result = self._stage(words, result)
        assert result is not None
        return result

    def _stage(self, words: list[str], before: r.Result | None) -> r.Result:
        name, rest = words[0], words[1:]
        if name in CHECKS and before is None and is_comparison(rest):
            compare(*rest)
            return r.Done()
        if name in FILTERS or name in (*CHECKS, "each"):
            if before is None:
                before = self._last()
            rows = rows_of(before)
            if name == "each":
                return self._each(rows, rest, key_of(before))
            changed = expect(rows, rest) if name in CHECKS else FILTERS[name](rows, rest)
            return _like(before, changed)
        if before is not None:
            raise UsageError(f"{shown(name)} cannot stand after |",
                             hint=f"one of {', '.join((*FILTERS, *CHECKS, 'each'))}")  # fmt: skip
        if name in ("exit", "quit"):
            raise Leave(_exit_code(rest) if rest else self.code)
        if name == "echo":
            return r.Text(" ".join(rest) + "\n")
        if name == "set":
            return self._set(rest)
        if name in ("help", "?"):
            from mobyshell.repl.help import show_help

            return r.Text(show_help(rest))
        if name in self.variables and not rest:
            raise UsageError(f"{name} is a variable", hint=f"echo ${{{name}}}")
        options = Options()
        return call(self.context, options.take(words), plan=options.plan)

    def _last(self) -> r.Result:
        last = self.variables["_"]
        rows = last if isinstance(last, list) else [last] if isinstance(last, dict) else []
        return r.Rows([(key, key.upper(), "text") for key in (rows[0] if rows else {})], rows)

    def _set(self, words: list[str]) -> r.Result:
        if not words:
            rows = [{"name": name, "value": output.json_line(value)}
                    for name, value in self.variables.items()]  # fmt: skip
            return r.Rows((("name", "NAME", "id"), ("value", "VALUE", "text")), rows, "name")
        name, equals, value = " ".join(words).partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError("set takes NAME=VALUE", hint="set name=web")
        self.variables[name.strip()] = value.strip()
        return r.Done()

    def _each(self, rows: list[dict[str, Any]], words: list[str], key: str) -> r.Result:
        """The verb, once for each row: its key is the argument, or stands where `{}` is."""
        if not words:
            raise UsageError("each needs a command", hint="task ls | each task kill")
        answered = []
        for row in rows:
            subject = str(row.get(key, next(iter(row.values()), "")))
            line = [word.replace("{}", subject) for word in words]
            if line == words:
                line = [*words, subject]
            answered.append((subject, call(self.context, line)))
        return of_each(key, answered)

    # variables

    def expand(self, word: Word) -> str:
        """The word with its variables put in. UsageError for one that is not set."""
        return "".join(self._value(text) if variable else text for variable, text in word.parts)

    def value_at(self, path: str) -> Any:
        """What `${path}` holds; None if there is no such thing."""
        try:
            return self._found(path)
        except UsageError:
            return None

    def _value(self, path: str) -> str:
        value = self._found(path)
        if isinstance(value, dict) and "." not in path and "id" in value:
            value = value["id"]
        if value is None:
            return ""
        return value if isinstance(value, str) else output.json_line(value)

    def _found(self, path: str) -> Any:
        name, *fields = path.split(".")
        if name not in self.variables:
            raise UsageError(f"no variable {name}", hint="`set` lists them")
        value = self.variables[name]
        for field in fields:
            if isinstance(value, list) and not is_index(field) and len(value) == 1:
                value = value[0]
            if isinstance(value, list) and is_index(field) and int(field) < len(value):
                value = value[int(field)]
            elif isinstance(value, dict) and field in value:
                value = value[field]
            else:
                raise UsageError(f"${{{path}}}: there is no {field}")
        return value

    # the way out

    def _shell(self, command: str, result: r.Result) -> int:
        """Give the rows, one JSON object a line, to a command of the system's shell."""
        sys.stdout.flush()
        with subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, bufsize=0
        ) as process:
            assert process.stdin is not None
            try:
                for piece in _pieces(result):
                    view = memoryview(piece)
                    while view:
                        view = view[process.stdin.write(view) :]
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has read what it wanted
            except BaseException:
                process.terminate()
                raise
            code = process.wait()
        return code if code >= 0 else 128 - code


def _pieces(result: r.Result) -> Iterator[bytes]:
    """A result for a command's standard input: a document as it is, else one JSON object a line."""
    if isinstance(result, r.Text):
        yield result.text.encode("utf-8", "surrogateescape")
        return
    if isinstance(result, r.Bytes):
        yield from result.pieces
        return
    rows = result.items if isinstance(result, r.Stream) else rows_of(result)
    for row in rows:
        yield output.json_line(row).encode() + b"\n"


def _exit_code(words: list[str]) -> int:
    if len(words) > 1 or not is_index(words[0]) or int(words[0]) > 255:
        raise UsageError("exit takes one code, 0 to 255", hint="exit 3")
    return int(words[0])


def rows_of(result: r.Result) -> list[dict[str, Any]]:
    """Any result as rows."""
    value = plain(result)
    if isinstance(value, list):
        return [row if isinstance(row, dict) else {"value": row} for row in value]
    return [value] if isinstance(value, dict) else [{"value": value}] if value else []


def key_of(result: r.Result) -> str:
    """The field that names a row."""
    return result.key if isinstance(result, (r.Rows, r.Record)) else "id"


def _like(before: r.Result, rows: list[dict[str, Any]]) -> r.Result:
    """Rows with the columns they had, as far as they still have them."""
    columns = list(before.columns) if isinstance(before, r.Rows) else []
    names = list(rows[0]) if rows else []
    kept = [one for one in columns if not rows or one[0] in rows[0]]
    if (rows and len(kept) < min(len(columns), len(names))) or not kept:
        known = {one[0]: one for one in columns}
        kept = [known.get(name, (name, name.upper(), "text")) for name in names]
    key = key_of(before)
    return r.Rows(kept, rows, key if not names or key in names else names[0])
