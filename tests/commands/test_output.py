"""Results as text for people."""

from __future__ import annotations

from mobyshell.commands.output import record, table
from mobyshell.commands.results import Record, Rows


def test_prose_is_folded_where_it_does_not_fit() -> None:
    columns = (("id", "ID", "id"), ("what", "WHAT", "prose"), ("why", "WHY", "prose"))
    rows = Rows(
        columns, [{"id": "one", "what": "short", "why": "because there is much to be said"}]
    )
    assert table(rows, 80).splitlines()[1] == "one  short  because there is much to be said"
    assert table(rows, 30).splitlines()[1:] == [
        "one  short  because there is",
        "            much to be said",
    ]
    # where there is no room to read it in, the line is cut as any other
    assert table(rows, 20).splitlines()[1] == "one  short  because…"


def test_a_record_shows_times_as_times() -> None:
    made = Record({"created": 1_700_000_000_000_000_000, "why": "", "size": 5})
    assert record(made).splitlines() == [
        "created: 2023-11-14T22:13:20.000000000Z", "why: –", "size: 5",
    ]  # fmt: skip
