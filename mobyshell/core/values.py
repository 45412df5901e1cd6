"""Values: what `dataclass(frozen=True, slots=True)` makes, without the time that takes.

    @value
    class ImageDeleted(Payload):
        name: str

A dataclass writes source text for each of its methods and compiles it: half a millisecond a class,
and a verb on images loads a hundred of them. Here all values share their methods, which costs a
construction about a microsecond. So: for what a short-lived program loads, and makes few of.
Checkers see a dataclass (PEP 681), and so do `dataclasses.replace`, `asdict` and `fields`.

Owns how such classes are made, and nothing that is in them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing would cost what this is to save
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_: object) -> Any:
        return lambda decorator: decorator


class _Required:
    """What has no default."""


class _Fresh:
    """A default that is made for each value."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """A field whose default is made for each value, as `dataclasses.field` has it."""
    return _Fresh(default_factory)  # type: ignore[return-value]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(plain: type[T], /) -> type[T]:
    """A class of values like `plain`: its annotated names are the fields, after those of its base. A
    value cannot be changed, is equal to one of the same class with equal fields, and can be hashed
    if they can. `__post_init__` is called, if there is one."""
    body = dict(plain.__dict__)
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    inherited: Mapping[str, Any] = getattr(plain, "__fields__", {})
    own = {
        name: body.pop(name, _Required)
        for name, kind in plain.__annotations__.items()
        if "ClassVar" not in str(kind)
    }
    fields = {**inherited, **own}
    new = [name for name in own if name not in inherited]
    body.update(__slots__=tuple(new), __fields__=fields, __match_args__=tuple(fields))
    body["__dataclass_fields__"] = _Fields()
    for name, method in _METHODS.items():
        body.setdefault(name, method)
    kind: Any = type(plain)
    made = kind(plain.__name__, plain.__bases__, body)
    made.__init__ = _initializer(made)
    return made  # type: ignore[no-any-return]


class _Fields:
    """What the module `dataclasses` knows its own by: made by itself, when it looks."""

    def __get__(self, _: object, kind: Any) -> dict[str, Any]:
        import dataclasses

        types: dict[str, Any] = {}
        for one in reversed(kind.__mro__[:-1]):
            types |= one.__annotations__
        like: Any = dataclasses.make_dataclass(
            kind.__name__,
            [(name, types[name], _described(default)) for name, default in kind.__fields__.items()],
            namespace={"__doc__": kind.__name__},  # else one is made of its signature, by `inspect`
        )
        found: dict[str, Any] = like.__dataclass_fields__
        kind.__dataclass_fields__ = found
        return found


def _described(default: Any) -> Any:
    import dataclasses

    if default is _Required:
        return dataclasses.field()
    if isinstance(default, _Fresh):
        return dataclasses.field(default_factory=default.make)
    return dataclasses.field(default=default)


def as_dict(one: object) -> dict[str, Any]:
    """The fields of a value with what they hold, which is not copied."""
    return {name: getattr(one, name) for name in type(one).__fields__}  # type: ignore[attr-defined]


def replace(one: T, /, **changes: Any) -> T:
    """A value like `one`, but for `changes`."""
    return type(one)(**{**as_dict(one), **changes})


def _initializer(kind: Any) -> Callable[..., None]:
    """The `__init__` of a class. What is asked here is not asked for each value."""
    puts = [getattr(kind, name).__set__ for name in kind.__fields__]
    size = len(puts)
    checked = hasattr(kind, "__post_init__")

    def __init__(self: Any, *given: Any, **named: Any) -> None:
        if named or len(given) != size:
            given = _bound(kind, given, named)
        for put, one in zip(puts, given, strict=True):
            put(self, one)
        if checked:
            self.__post_init__()

    return __init__


def _bound(kind: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """What each field gets. TypeError as from a function with these parameters."""
    fields: dict[str, Any] = kind.__fields__
    if len(given) > len(fields):
        raise TypeError(f"{kind.__qualname__} has {len(fields)} fields, {len(given)} were given")
    found = list(given)
    for name, default in list(fields.items())[len(given) :]:
        if name in named:
            found.append(named.pop(name))
        elif default is _Required:
            raise TypeError(f"{kind.__qualname__} needs {name!r}")
        else:
            found.append(default.make() if isinstance(default, _Fresh) else default)
    if named:
        raise TypeError(f"{kind.__qualname__} cannot take {', '.join(map(repr, named))}")
    return tuple(found)


def _held(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in type(self).__fields__)


def _repr(self: Any) -> str:
    told = ", ".join(f"{name}={one!r}" for name, one in as_dict(self).items())
    return f"{type(self).__qualname__}({told})"


def _eq(self: Any, other: object) -> bool:
    return _held(self) == _held(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_held(self))


def _frozen(self: Any, name: str, _: Any = None) -> NoReturn:
    raise AttributeError(f"{type(self).__qualname__}.{name} cannot be changed")


def _reduce(self: Any) -> tuple[Any, tuple[Any, ...]]:
    return type(self), _held(self)  # for copy and pickle


_METHODS = {
    "__repr__": _repr, "__eq__": _eq, "__hash__": _hash,
    "__setattr__": _frozen, "__delattr__": _frozen, "__reduce__": _reduce,
}  # fmt: skip
