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


HEX = "205b1379eeed9815929713b4fae78eb379fcb9d56ab8cd2a9a60c1623565b998"
IMAGES = Rows(
    (("name", "IMAGE", "id"), ("digest", "DIGEST", "text"), ("updated", "UPDATED", "ago")),
    [{"name": "docker.io/library/box:latest", "digest": f"sha256:{HEX}", "updated": 1},
     {"name": f"localhost:5077/sg/box:sha256-{HEX}.sig", "digest": f"sha512:{HEX}{HEX}",
      "updated": 1}],
    "name",
)  # fmt: skip


def test_what_is_too_wide_is_shortened_where_it_can_be_spared() -> None:
    """Else a terminal of 80 columns shows the longest column alone."""
    assert table(IMAGES, 80, now_ns=3_000_000_001).splitlines() == [
        "IMAGE                                           DIGEST               UPDATED",
        "docker.io/library/box:latest                    sha256:205b1379eeed  3.0s ago",
        "localhost:5077/sg/box:sha256-205b1379eeed….sig  sha512:205b1379eeed  3.0s ago",
    ]
    narrow = table(IMAGES, 60, now_ns=3_000_000_001).splitlines()
    assert max(map(len, narrow)) == 60
    assert [line.split()[1:] for line in narrow[1:]] == [
        ["sha256:205b1379eeed", "3.0s", "ago"], ["sha512:205b1379eeed", "3.0s", "ago"],
    ]  # fmt: skip
    assert "….sig" in narrow[2]  # it is the middle that is missing
    assert f"sha256:{HEX}" in table(IMAGES, 300)
    assert HEX in table(IMAGES)  # nothing is missing where it goes to a program
    assert max(map(len, table(IMAGES, 20).splitlines())) == 20


def test_a_record_is_never_cut() -> None:
    made = Record({"path": "/a" * 100, "env": ["A=" + "b" * 100]})
    assert record(made).splitlines() == [f"path: {'/a' * 100}", f"env: A={'b' * 100}"]
