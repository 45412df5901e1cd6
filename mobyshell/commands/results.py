"""What a verb answers: data, for the face to show. Never text that only one face could use."""

from __future__ import annotations

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, TypeAlias

    from mobyshell.core.errors import UsageError

    Row: TypeAlias = Mapping[str, Any]


class Rows:
    """A table. `columns`: (key, title, kind); kinds are text, prose (which may
    be folded), id, number, bytes, ago, duration,
    percent, state, check. `key` names the column that identifies a row (`-q` shows only it);
    `extra` keys of rows that have no column go into JSON and YAML. `said`: narration, as in Done."""

    __slots__ = ("columns", "key", "rows", "said")

    def __init__(
        self, columns: Sequence[tuple[str, str, str]], rows: Sequence[Row], key: str = "id",
        said: str = "",
    ) -> None:  # fmt: skip
        self.columns, self.rows, self.key, self.said = tuple(columns), list(rows), key, said


class Record:
    """One thing with named fields, which may be nested."""

    __slots__ = ("fields", "key")

    def __init__(self, fields: Row, key: str = "id") -> None:
        self.fields, self.key = fields, key


class Text:
    """A document: a config.json, a script, a help page. Shown as it is."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class Bytes:
    """A document that is no text: for a pipe or a file. Whoever can only show text says `why` not."""

    __slots__ = ("hint", "pieces", "why")

    def __init__(self, pieces: Iterable[bytes], why: str, hint: str) -> None:
        self.pieces, self.why, self.hint = pieces, why, hint

    def refused(self) -> UsageError:
        """The error where there is nobody who takes bytes."""
        from mobyshell.core.errors import UsageError

        return UsageError(self.why, hint=self.hint)


class Stream:
    """Things that come one by one, perhaps for ever. `show` makes a line of text of one;
    `document`: the text is what is wanted, also where it does not go to a terminal (`logs`);
    `leave` ends them while somebody else waits for the next one."""

    __slots__ = ("document", "items", "leave", "show")

    def __init__(
        self, items: Iterable[Any], show: Any = str, *, document: bool = False,
        leave: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        self.items: Iterator[Any] = iter(items)
        self.show, self.document, self.leave = show, document, leave


class Done:
    """It is done: nothing to show but perhaps the id it made; `code` is the exit code to pass on.

    `said` goes to stderr: narration, not data.
    """

    __slots__ = ("code", "id", "said")

    def __init__(self, id: str = "", *, code: int = 0, said: str = "") -> None:
        self.id, self.code, self.said = id, code, said


def done_each(subjects: Sequence[str], do: Callable[[str], object]) -> Done:
    """Do it to each, also after one for which it failed; the first failure is raised then."""
    from mobyshell.core.errors import MobyshellError

    failed: list[MobyshellError] = []
    for one in subjects:
        try:
            do(one)
        except MobyshellError as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return Done(" ".join(subjects))


if TYPE_CHECKING:
    Result: TypeAlias = Rows | Record | Text | Bytes | Stream | Done
