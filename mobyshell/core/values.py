"""Values: what `dataclass(frozen=True, slots=True)` makes, without the time that takes.

    @value
    class ImageDeleted(Payload):
        name: str

A dataclass writes source text for each of its methods and compiles it: half a millisecond and twelve
kilobytes a class, and a verb on images loads a hundred of them. Here all values share their methods. So:
for what a short-lived program loads, and for what stays. Checkers see a dataclass (PEP 681), and so do
`dataclasses.replace`, `asdict` and `fields`.

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


class _Told:
    """A field of which more is told than its default."""

    __slots__ = ("default", "metadata")

    def __init__(self, default: Any, metadata: Mapping[str, Any]) -> None:
        self.default, self.metadata = default, metadata


def field(*, default_factory: Callable[[], T]) -> T:
    """A field whose default is made for each value, as `dataclasses.field` has it."""
    return _Fresh(default_factory)  # type: ignore[return-value]


def told(metadata: Mapping[str, Any], *default: Any) -> Any:
    """A field with metadata, as `dataclasses.field` has it: `metadata_of` a class has them by name."""
    return _Told(default[0] if default else _Required, metadata)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(plain: type[T], /) -> type[T]:
    """A class of values like `plain`: its annotated names are the fields, after those of its base. A
    value cannot be changed, is equal to one of the same class with equal fields, and can be hashed
    if they can. `__post_init__` is called, if there is one."""
    return _made(plain, _METHODS)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def named_value(plain: type[T], /) -> type[T]:
    """A `value` whose fields are given by name, so that those with a default need not be the last.
    Only checkers insist on that."""
    return _made(plain, _METHODS)


@dataclass_transform(field_specifiers=(field,))
def variable(plain: type[T], /) -> type[T]:
    """Like a `value`, but its fields can be changed, so it cannot be hashed."""
    return _made(plain, _VARIABLE)


def _made(plain: type[T], methods: Mapping[str, Any]) -> type[T]:
    body = dict(plain.__dict__)
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    inherited: Mapping[str, Any] = getattr(plain, "__fields__", {})
    own = {
        name: body.pop(name, _Required)
        for name, kind in plain.__annotations__.items()
        if "ClassVar" not in str(kind)
    }
    metadata = {name: one.metadata for name, one in own.items() if type(one) is _Told}
    own.update((name, own[name].default) for name in metadata)
    fields = {**inherited, **own}
    new = [name for name in own if name not in inherited]
    # what `cached_property` has found is kept where it looks for it
    kept = (
        ["__dict__"]
        if any(type(one).__name__ == "cached_property" for one in body.values())
        else []
    )
    body.update(__slots__=(*new, *kept), __fields__=fields, __match_args__=tuple(fields))
    body["__dataclass_fields__"] = _FIELDS
    if metadata:
        body["__metadata__"] = metadata
    for name, method in methods.items():
        body.setdefault(name, method)
    kind: Any = type(plain)
    made = kind(plain.__name__, plain.__bases__, body)
    made.__init__ = _initializer(made)
    return made  # type: ignore[no-any-return]


def names(kind: type[Any]) -> tuple[str, ...]:
    """Those of the fields of a class, in order."""
    return tuple(kind.__fields__)


def metadata_of(kind: type[Any]) -> Mapping[str, Mapping[str, Any]]:
    """What is told of the fields of a class, by their names."""
    found: Mapping[str, Mapping[str, Any]] = getattr(kind, "__metadata__", {})
    return found


def required(kind: type[Any], name: str) -> bool:
    """Whether a field has no default."""
    return kind.__fields__[name] is _Required


class _Fields:
    """What the module `dataclasses` knows its own by: made by itself, when it looks."""

    def __get__(self, _: object, kind: Any) -> dict[str, Any]:
        import dataclasses

        types: dict[str, Any] = {}
        for one in reversed(kind.__mro__[:-1]):
            types |= getattr(one, "__annotations__", {})
        metadata = metadata_of(kind)
        like: Any = dataclasses.make_dataclass(
            kind.__name__,
            [(name, types[name], _described(default, metadata.get(name)))
             for name, default in kind.__fields__.items()],
            namespace={"__doc__": kind.__name__},  # else one is made of its signature, by `inspect`
            kw_only=True,
        )  # fmt: skip
        found: dict[str, Any] = like.__dataclass_fields__
        kind.__dataclass_fields__ = found
        return found


_FIELDS = _Fields()


def _described(default: Any, metadata: Mapping[str, Any] | None) -> Any:
    import dataclasses

    if default is _Required:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, _Fresh):
        return dataclasses.field(default_factory=default.make, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def as_dict(one: object) -> dict[str, Any]:
    """The fields of a value with what they hold, which is not copied."""
    return {name: getattr(one, name) for name in type(one).__fields__}  # type: ignore[attr-defined]


def replace(one: T, /, **changes: Any) -> T:
    """A value like `one`, but for `changes`."""
    return type(one)(**{**as_dict(one), **changes})


def _initializer(kind: Any) -> Callable[..., None]:
    """The `__init__` of a class. What is asked here is not asked for each value."""
    puts = tuple(getattr(kind, name).__set__ for name in kind.__fields__)
    size = len(puts)
    checked = hasattr(kind, "__post_init__")

    def __init__(self: Any, *given: Any, **named: Any) -> None:
        if named or len(given) != size:
            given = tuple(_bound(kind, given, named))
        for put, one in zip(puts, given, strict=True):
            put(self, one)
        if checked:
            self.__post_init__()

    return __init__


def _bound(kind: Any, given: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
    """What each field gets. TypeError as from a function with these parameters."""
    pairs = list(kind.__fields__.items())
    if len(given) > len(pairs):
        raise TypeError(f"{kind.__qualname__} has {len(pairs)} fields, {len(given)} were given")
    found = list(given)
    left = len(named)
    for name, default in pairs[len(given) :]:
        if name in named:
            default = named[name]
            left -= 1
        elif default is _Required:
            raise TypeError(f"{kind.__qualname__} needs {name!r}")
        elif type(default) is _Fresh:
            default = default.make()
        found.append(default)
    if left:
        fields = [name for name, _ in pairs[len(given) :]]
        wrong = [repr(name) for name in named if name not in fields]
        raise TypeError(f"{kind.__qualname__} cannot take {', '.join(wrong)}")
    return found


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


_VARIABLE = {"__repr__": _repr, "__eq__": _eq, "__hash__": None, "__reduce__": _reduce}
_METHODS = {
    "__repr__": _repr, "__eq__": _eq, "__hash__": _hash,
    "__setattr__": _frozen, "__delattr__": _frozen, "__reduce__": _reduce,
}  # fmt: skip
