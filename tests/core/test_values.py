"""Values are to who uses them what frozen, slotted dataclasses are."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
from typing import Any, ClassVar

import pytest

from mobyshell.core.values import (
    as_dict,
    field,
    metadata_of,
    named_value,
    names,
    replace,
    required,
    told,
    value,
    variable,
)


@value
class Point:
    """Where."""

    kind: ClassVar[str] = "point"
    x: int
    y: int = 2
    names: list[str] = field(default_factory=list)

    def moved(self, by: int) -> Point:
        return replace(self, x=self.x + by)


@value
class Marked(Point):
    mark: str = "m"


@value
class Even:
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError(self.number)


@value
class Asked:
    """How often what it holds was asked for."""

    times: list[int]

    @functools.cached_property
    def once(self) -> int:
        self.times.append(1)
        return len(self.times)


@dataclasses.dataclass(frozen=True, slots=True)
class Likeness:
    """What `Point` is compared with."""

    kind: ClassVar[str] = "point"
    x: int
    y: int = 2
    names: list[str] = dataclasses.field(default_factory=list)


GOOD: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}), ((1, 3), {}), ((1, 3, ["a"]), {}), ((), {"x": 4}), ((1,), {"names": ["n"]}),
    ((), {"y": 5, "x": 6}),
]  # fmt: skip
BAD: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}), ((), {"y": 1}), ((1, 2, [], 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "named"), GOOD)
def test_a_value_is_made_as_a_dataclass_is(given: Any, named: Any) -> None:
    ours, real = Point(*given, **named), Likeness(*given, **named)
    assert repr(ours) == repr(real).replace("Likeness", "Point")
    assert (ours.x, ours.y, ours.names) == (real.x, real.y, real.names)


@pytest.mark.parametrize(("given", "named"), BAD)
def test_what_a_dataclass_does_not_take_is_not_taken(given: Any, named: Any) -> None:
    for kind in (Point, Likeness):
        with pytest.raises(TypeError):
            kind(*given, **named)


def test_a_value_cannot_be_changed_and_has_nothing_else() -> None:
    one: Any = Point(1)
    for name in ("x", "other"):
        with pytest.raises(AttributeError):
            setattr(one, name, 1)
    with pytest.raises(AttributeError):
        del one.x
    assert not hasattr(one, "__dict__")
    assert Point.__match_args__ == ("x", "y", "names")
    assert Point.__doc__ == "Where."
    assert Point.kind == "point"


def test_equal_are_those_of_one_class_with_equal_fields() -> None:
    assert Even(2) == Even(2)
    assert Even(2) != Even(4)
    others: list[object] = [Likeness(1), Marked(1)]
    for other in others:
        assert Point(1) != other
        assert other != Point(1)
    assert len({Even(2), Even(2), Even(4)}) == 2
    with pytest.raises(TypeError):
        hash(Point(1))  # it has a list


def test_defaults_that_can_be_changed_are_each_value_s_own() -> None:
    assert Point(1).names is not Point(1).names


def test_the_fields_of_a_base_come_first() -> None:
    assert as_dict(Marked(1, 2, [], "x")) == {"x": 1, "y": 2, "names": [], "mark": "x"}
    assert Marked(1).moved(2) == Marked(3)


def test_it_says_itself_what_it_cannot_be() -> None:
    assert replace(Even(2), number=4) == Even(4)
    with pytest.raises(ValueError, match="3"):
        Even(3)


def test_it_is_copied_and_pickled() -> None:
    one = Marked(1, 2, ["a"])
    assert copy.copy(one) == copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one).names is not one.names


def test_the_functions_for_dataclasses_take_it() -> None:
    one = Marked(1, names=["a"])
    assert dataclasses.is_dataclass(one)
    assert dataclasses.replace(one, y=9) == Marked(1, 9, ["a"])
    assert dataclasses.asdict(one) == as_dict(one)
    ours, real = dataclasses.fields(Point), dataclasses.fields(Likeness)
    for a, b in zip(ours, real, strict=True):
        assert (a.name, a.type, a.default, a.default_factory) == (
            b.name, b.type, b.default, b.default_factory)  # fmt: skip
    assert [one.name for one in dataclasses.fields(Marked)] == ["x", "y", "names", "mark"]


@named_value
class Member:
    size: int = told({"json": "theSize"}, 3)
    name: str = told({"json": "theName"})


@variable
class Counter:
    at: int = 0
    seen: list[int] = field(default_factory=list)


def test_fields_that_are_named_come_in_any_order_and_may_have_metadata() -> None:
    assert Member(name="x") == Member(name="x", size=3)
    with pytest.raises(TypeError):
        Member(size=4)
    assert names(Member) == ("size", "name")
    assert (required(Member, "size"), required(Member, "name")) == (False, True)
    assert metadata_of(Member) == {"size": {"json": "theSize"}, "name": {"json": "theName"}}
    assert [dict(one.metadata) for one in dataclasses.fields(Member)] == [
        {"json": "theSize"}, {"json": "theName"}]  # fmt: skip
    assert metadata_of(Point) == {}


def test_a_variable_can_be_changed_and_is_no_key() -> None:
    one = Counter()
    one.at += 2
    one.seen.append(1)
    assert one == Counter(2, [1])
    assert Counter().seen == []
    with pytest.raises(TypeError):
        hash(one)
    with pytest.raises(AttributeError):
        one.other = 1  # type: ignore[attr-defined]
    assert dataclasses.replace(one, at=3) == Counter(3, [1])
    assert copy.deepcopy(one) == one


def test_a_cached_property_is_found_once_and_is_no_field() -> None:
    one = Asked([])
    assert (one.once, one.once) == (1, 1)
    assert names(Asked) == ("times",)
    assert one == Asked([1])
    with pytest.raises(AttributeError):
        one.other = 1  # type: ignore[attr-defined]
