"""Trees that namespaces share: who may have one, and when it is gone. And leases, and events."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import pytest

from mobyshell.core.errors import AlreadyExists, NotFound
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.snapshots.protocol import REF, Layer, Snapshotter
from mobyshell.core.store.snapshots.snapshotter import TreeSnapshotter
from tests.core.store.snapshots.conftest import layer, put, seen, shown, write

pytestmark = pytest.mark.root

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")
CHAIN = f"sha256:{sha256(f'{ONE} {TWO}'.encode()).hexdigest()}"


def of(scope: Scope, namespace: str, like: Snapshotter) -> TreeSnapshotter:
    return TreeSnapshotter(replace(scope, namespace=namespace), DRIVERS[like.name]())


def has(scope: Scope, namespace: str, *diff_ids: str) -> None:
    """The namespace has blobs that were found to unpack to these."""
    with scope.database.write() as sql:
        sql.execute("INSERT OR IGNORE INTO namespaces (name, created) VALUES (?, 0)", (namespace,))
        for diff_id in diff_ids:
            digest = diff_id.replace("sha256:", "sha256:b")[:-1]
            sql.execute("INSERT OR IGNORE INTO blobs (digest, size, diff_id, added) VALUES"
                        " (?, 1, ?, 0)", (digest, diff_id))  # fmt: skip
            sql.execute("INSERT INTO content (namespace, digest, created, updated) VALUES"
                        " (?, ?, 0, 0)", (namespace, digest))  # fmt: skip


def directories(scope: Scope, snapshots: Snapshotter) -> list[str]:
    return sorted(one.name for one in (scope.root.snapshots / snapshots.name).iterdir())


@pytest.fixture
def unpacked(snapshots: Snapshotter) -> Snapshotter:
    """Namespace `test` has unpacked two layers."""
    layer(snapshots, ONE, put(one="1"), holds=Layer(ONE))
    layer(snapshots, CHAIN, put(two="2"), ONE, holds=Layer(TWO))
    return snapshots


def test_who_has_the_same_layers_gets_the_same_tree(unpacked: Snapshotter, scope: Scope) -> None:
    before = directories(scope, unpacked)
    has(scope, "other", ONE, TWO)
    other = of(scope, "other", unpacked)
    assert other.adopt(ONE)
    with pytest.raises(AlreadyExists):
        other.prepare("extract-1", ONE, {REF: CHAIN})
    assert [(one.name, one.parent) for one in other.walk()] == [(ONE, ""), (CHAIN, ONE)]
    assert seen(other, CHAIN) == {"one": "1", "two": "2"}
    assert other.usage(CHAIN) == unpacked.usage(CHAIN)
    assert directories(scope, unpacked) == before
    for key in (CHAIN, ONE):
        unpacked.remove(key)
    assert seen(other, CHAIN) == {"one": "1", "two": "2"}  # as long as somebody has it
    for key in (CHAIN, ONE):
        other.remove(key)
    assert directories(scope, unpacked) == []


def test_who_has_not_proved_to_have_the_layers_gets_nothing(
    unpacked: Snapshotter, scope: Scope
) -> None:
    has(scope, "other", TWO)
    other = of(scope, "other", unpacked)
    assert not other.adopt(ONE)
    assert not other.adopt(CHAIN)  # it has the last layer, but not what is below
    other.prepare("extract-1", "", {REF: ONE})  # so it has to be unpacked
    assert [one.name for one in other.walk()] == ["extract-1"]
    layer(other, "mine", put(x="x"))
    assert not other.adopt(CHAIN, "mine")  # nor is it a parent that it has made up
    with pytest.raises(NotFound):
        other.adopt(CHAIN, "nowhere")


def test_a_reference_that_is_there_already(unpacked: Snapshotter) -> None:
    with pytest.raises(AlreadyExists):
        unpacked.prepare("extract-1", "", {REF: ONE})
    assert [one.name for one in unpacked.walk()] == [ONE, CHAIN]


def test_two_that_have_unpacked_the_same_share_one_afterwards(
    unpacked: Snapshotter, scope: Scope
) -> None:
    other = of(scope, "other", unpacked)
    layer(other, ONE, put(one="1"), holds=Layer(ONE))
    assert len(directories(scope, unpacked)) == 2
    layer(other, CHAIN, put(two="2"), ONE, holds=Layer(TWO))
    assert len(directories(scope, unpacked)) == 2
    assert seen(other, CHAIN) == {"one": "1", "two": "2"}


def test_what_is_not_only_layers_is_not_shared(unpacked: Snapshotter, scope: Scope) -> None:
    layer(unpacked, "mine", put(x="x"), ONE)
    layer(unpacked, "above", put(two="2"), "mine", holds=Layer(TWO))
    with scope.database.read() as sql:
        chains = sql.execute("SELECT count(*) FROM trees WHERE chain_id IS NOT NULL").fetchone()
    assert chains == (2,)


def test_a_child_of_a_shared_tree_is_ones_own(unpacked: Snapshotter, scope: Scope) -> None:
    has(scope, "other", ONE)
    other = of(scope, "other", unpacked)
    other.adopt(ONE)
    write(other, "box", put(one="changed"), ONE)
    assert seen(unpacked, ONE) == {"one": "1"}
    with shown(other.mounts("box")) as root:
        assert (root / "one").read_text() == "changed"


def test_events_are_told_with_the_change(snapshots: Snapshotter, scope: Scope) -> None:
    layer(snapshots, "a", put(a="a"))
    snapshots.view("v", "a")
    snapshots.remove("v")
    with pytest.raises(AlreadyExists):
        snapshots.prepare("a")
    with scope.database.read() as sql:
        rows = sql.execute("SELECT namespace, topic, payload FROM events ORDER BY sequence")
        told = [(space, topic, json.loads(payload)) for space, topic, payload in rows]
    name = snapshots.name
    assert told == [
        ("test", "/namespaces/create", {"name": "test", "labels": {}}),
        ("test", "/snapshot/prepare",
         {"key": "a-active", "parent": "", "snapshotter": name, "view": False}),
        ("test", "/snapshot/commit", {"key": "a-active", "name": "a", "snapshotter": name}),
        ("test", "/snapshot/prepare", {"key": "v", "parent": "a", "snapshotter": name, "view": True}),
        ("test", "/snapshot/remove", {"key": "v", "snapshotter": name}),
    ]  # fmt: skip


def test_a_lease_holds_what_is_made_under_it(snapshots: Snapshotter, scope: Scope) -> None:
    def held() -> set[tuple[str, str]]:
        with scope.database.read() as sql:
            return set(sql.execute("SELECT type, resource FROM lease_resources"))

    with scope.database.write() as sql:
        scope.ensure_namespace(sql)
        sql.execute("INSERT INTO leases (namespace, id, created) VALUES ('test', 'l', 0)")
    leased = TreeSnapshotter(scope.under("l"), DRIVERS[snapshots.name]())
    kind = f"snapshots/{snapshots.name}"
    leased.prepare("box")
    assert held() == {(kind, "box")}
    leased.commit("name", "box")
    assert held() == {(kind, "name")}
    leased.remove("name")
    assert held() == set()
    with pytest.raises(NotFound, match="no lease gone"):
        TreeSnapshotter(scope.under("gone"), DRIVERS[snapshots.name]()).prepare("box")
    assert list(leased.walk()) == []
