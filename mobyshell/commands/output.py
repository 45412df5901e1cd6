"""How results look as text: a table for people, JSON lines and YAML for programs.

Control characters are escaped on their way out: names and output come from strangers.
"""

from __future__ import annotations

import time

from mobyshell.commands.results import Record, Rows

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from typing import Any

_TIMES = ("created", "updated", "expires")
"""Fields of records that are nanoseconds since the epoch."""
_UNITS = ("B", "K", "M", "G", "T", "P")


def clean(text: str) -> str:
    """`text` in one line, with nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() else _escaped(ch) for ch in text)


def _escaped(ch: str) -> str:
    """As Python would write it; a byte of a name that is no UTF-8 as that byte."""
    return f"\\x{ord(ch) - 0xDC00:02x}" if "\udc80" <= ch <= "\udcff" else repr(ch)[1:-1]


def size(value: float) -> str:
    """Bytes as a person reads them: 64.0M."""
    unit = 0
    while abs(value) >= 1024 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{value:.0f}B" if unit == 0 else f"{value:.1f}{_UNITS[unit]}"


def duration(ns: float) -> str:
    """Nanoseconds as a person reads them: 1.2ms, 3.4s, 2m05s, 3h04m, 2d03h."""
    if ns < 1_000:
        return f"{ns:.0f}ns"
    if ns < 1_000_000:
        return f"{ns / 1e3:.1f}µs"
    if ns < 1_000_000_000:
        return f"{ns / 1e6:.1f}ms"
    seconds = ns / 1e9
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes}m{int(seconds) % 60:02}s"
    hours = minutes // 60
    return f"{hours}h{minutes % 60:02}m" if hours < 48 else f"{hours // 24}d{hours % 24:02}h"


def age(ns: float) -> str:
    """The same of something that grows as one looks: nothing below a second."""
    return duration(ns) if ns >= 60e9 else f"{ns // 1e9:.0f}s"


def cell(value: Any, kind: str, now_ns: int | None = None) -> str:
    """One value of a table."""
    if kind == "check":
        return {True: "✓", False: "✗", None: "?"}[value]
    if value is None or value == "":
        return "–"
    if kind == "bytes":
        return size(value)
    if kind == "duration":
        return duration(value)
    if kind == "age":
        return age(value)
    if kind == "percent":
        return f"{value:.1f}"
    if kind == "ago":
        return duration(max((now_ns or time.time_ns()) - value, 0)) + " ago"
    return clean(str(value))


_GAP = 2
"""Columns between two columns."""
_NARROWEST = 12
"""Columns in which prose can be read; where there are fewer for it, it is cut as all else is."""
_RIGHT = ("number", "bytes", "duration", "age", "percent")


def table(rows: Rows, width: int | None = None, now_ns: int | None = None) -> str:
    """`rows` as an aligned table with a line of titles.

    Where it has more than `width` columns, digests are shown by their beginnings, prose is folded, and
    long words lose their middle, the longest first: so far as it helps, what is in the last column is
    to be seen, too. What still does not fit is cut.
    """
    lines = [[title for _, title, _ in rows.columns]]
    for row in rows.rows:
        lines.append([cell(row.get(key), kind, now_ns) for key, _, kind in rows.columns])
    kinds = [kind for _, _, kind in rows.columns]
    if width is not None and _over(lines, width) > 0:
        lines = _fitted(lines, kinds, width)
    widths = _widths(lines)
    out = []
    for line in lines:
        parts = []
        for index, text in enumerate(line):
            last = index == len(line) - 1
            wide = widths[index]
            right = kinds[index] in _RIGHT
            parts.append(text.rjust(wide) if right else text if last else text.ljust(wide))
        shown = (" " * _GAP).join(parts).rstrip()
        out.append(shown if width is None or len(shown) <= width else shown[: width - 1] + "…")
    return "\n".join(out)


def _widths(lines: list[list[str]]) -> list[int]:
    return [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]


def _over(lines: list[list[str]], width: int) -> int:
    """How many columns too wide it is."""
    return sum(_widths(lines)) + _GAP * (len(lines[0]) - 1) - width


def _fitted(lines: list[list[str]], kinds: list[str], width: int) -> list[list[str]]:
    """The same in less room, as far as that can be."""
    lines = [lines[0], *([_abbreviated(text) for text in line] for line in lines[1:])]
    for wanted in (("prose",), ("id", "text"), ("id", "text", "prose")):
        if _over(lines, width) <= 0:
            return lines
        widths = _widths(lines)
        giving = [index for index, kind in enumerate(kinds) if kind in wanted]
        narrowed = _narrowed(widths, giving, width)
        if giving and all(narrowed[one] >= min(widths[one], _NARROWEST) for one in giving):
            return [part for line in lines for part in _folded(line, narrowed, kinds)]
    return lines


def _abbreviated(text: str) -> str:
    """With digests by their first twelve digits, as engines show them. Alone, they are found by these;
    within something else there is a sign that some are missing."""
    import re

    if re.fullmatch(r"sha(256|512):[0-9a-f]{64,128}", text):
        return text[:19]
    return re.sub(r"([0-9a-f]{12})[0-9a-f]{20,}", r"\1…", text)


def _shortened(text: str, width: int) -> str:
    """Without its middle: what begins alike often ends differently."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def _narrowed(widths: list[int], giving: list[int], width: int) -> list[int]:
    """Widths with which a table fits into `width`, as far as the columns `giving` can give it: the
    widest give first."""
    left = width - sum(widths) - _GAP * (len(widths) - 1) + sum(widths[one] for one in giving)
    narrowed = list(widths)
    for done, one in enumerate(sorted(giving, key=lambda one: widths[one])):
        narrowed[one] = min(widths[one], left // (len(giving) - done))
        left -= narrowed[one]
    return narrowed


def _folded(line: list[str], widths: list[int], kinds: list[str]) -> list[list[str]]:
    """One row as the lines it takes in these widths: prose is folded, words are shortened."""
    import textwrap

    cells = []
    for text, wide, kind in zip(line, widths, kinds, strict=True):
        folds = kind == "prose" and len(text) > wide
        cells.append((textwrap.wrap(text, wide) or [""]) if folds else [_shortened(text, wide)])
    return [[cell[at] if at < len(cell) else "" for cell in cells]
            for at in range(max(map(len, cells)))]  # fmt: skip


def record(result: Record) -> str:
    """A record as indented `name: value` lines, nested things below their names. Values are never cut:
    who asks for one thing wants to read it, and a terminal goes on in the next line."""
    lines: list[str] = []
    _nested(result.fields, "", lines)
    return "\n".join(lines)


def _nested(value: Any, indent: str, lines: list[str]) -> None:
    items = (
        value.items() if hasattr(value, "items") else ((f"[{i}]", v) for i, v in enumerate(value))
    )
    for key, one in items:
        name = clean(str(key))
        if isinstance(one, (dict, list, tuple)) and one:
            if isinstance(one, (list, tuple)) and all(isinstance(v, (str, int)) for v in one):
                lines.append(f"{indent}{name}: {clean(', '.join(str(v) for v in one))}")
                continue
            lines.append(f"{indent}{name}:")
            _nested(one, indent + "  ", lines)
        else:
            shown = "–" if one is None or one in ((), [], {}, "") else clean(str(one))
            if name in _TIMES and isinstance(one, int):
                shown = _moment(one)
            lines.append(f"{indent}{name}: {shown}")


def _moment(time_ns: int) -> str:
    """A time of a record, for people; programs get the number."""
    from mobyshell.core.clock import rfc3339

    return rfc3339(time_ns)


def to_plain(value: Any) -> Any:
    """Values as JSON knows them: events and log lines as objects, bytes as text."""
    if hasattr(value, "to_json"):
        return to_plain(value.to_json())
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if hasattr(type(value), "__dataclass_fields__"):
        return {name: to_plain(getattr(value, name)) for name in type(value).__dataclass_fields__}
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): to_plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value  # YAML knows no kinds of text


def json_line(value: Any) -> str:
    """One JSON object in one line."""
    import json

    text = json.dumps(to_plain(value), ensure_ascii=False, separators=(",", ":"))
    # what is not printable is inside of strings: JSON has its own way to say it
    return text if text.isprintable() else "".join(map(_json_character, text))


def _json_character(one: str) -> str:
    if one.isprintable():
        return one
    code = ord(one)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def yaml_document(value: Any) -> str:
    """A YAML document."""
    import yaml

    text: str = yaml.safe_dump(to_plain(value), sort_keys=False, allow_unicode=True, width=100)
    return text
