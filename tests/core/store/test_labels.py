"""Labels and names: which may be, and what changes make of them."""

from __future__ import annotations

import pytest

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.labels import LONGEST, check_labels
from mobyshell.core.store import labels
from mobyshell.core.store.names import check_identifier, check_name


def test_key_and_value_have_a_bound_together() -> None:
    check_labels({"k": "v" * (LONGEST - 1)})
    with pytest.raises(UsageError, match="too long: 4097 bytes"):
        check_labels({"k": "v" * LONGEST})


@pytest.mark.parametrize("bad", [{"": "x"}, {"a\0": "x"}, {"a": "\ud800"}, {"a": "x\0"}])
def test_what_is_no_label(bad: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        labels.encode(bad)


def test_columns_are_read_as_written() -> None:
    some = {"b": "é\n", "a": '"'}
    assert labels.decode(labels.encode(some)) == some
    assert labels.encode({}) == "{}"


def test_changes_set_and_take_away() -> None:
    assert labels.changed({"a": "1", "b": "2"}, {"b": None, "c": "3"}) == {"a": "1", "c": "3"}
    assert labels.changed({"a": "1"}, {"a": ""}) == {}


def test_references_by_prefix() -> None:
    some = {
        "containerd.io/gc.ref.content": "x",
        "containerd.io/gc.ref.content.l.0": "y",
        "containerd.io/gc.ref.content/z": "z",
        "containerd.io/gc.ref.contents": "no",
        "containerd.io/gc.ref.content.gone": "",
    }
    found = {(rest, value) for _, rest, value in labels.references(some, labels.GC_REF_CONTENT)}
    assert found == {("", "x"), ("l.0", "y"), ("z", "z")}


@pytest.mark.parametrize("name", ["default", "k8s.io", "a-b_c.d", "A1", "x" * 76])
def test_identifiers(name: str) -> None:
    assert check_identifier(name, "namespace") == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "a..b", "a/b", "..", "a b", "é", "x" * 77, "a\n", "\x1b[31m"]
)
def test_no_identifiers(name: str) -> None:
    with pytest.raises(UsageError, match="invalid namespace") as caught:
        check_identifier(name, "namespace")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "a\u202eb", "x" * 5000])
def test_no_names(name: str) -> None:
    with pytest.raises(UsageError, match="invalid image"):
        check_name(name, "image")
