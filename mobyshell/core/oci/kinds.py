"""What a field may hold: one declaration serves decoding, checking and writing.

Owns the machinery; the objects of runtime-spec are declared in `process`, `linux`, `resources`,
`seccomp` and `spec`, those of image-spec in `descriptor`, `platform`, `manifest`, `index` and
`image_config`. A field carries its JSON name, its kind and the section of the spec in its
metadata; `decode` and `encode` walk tables that are made once per class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mobyshell.core.oci.safejson import show
from mobyshell.core.values import field, metadata_of, required, told, value

T = TypeVar("T")


@value
class Problem:
    """Something a document may not be. `path` as in `linux.namespaces[0].type`; `found` what is
    there, `allowed` what may be, `section` where the spec says so."""

    path: str
    found: str
    allowed: str
    section: str

    def __str__(self) -> str:
        return f"{self.path or 'config.json'}: found {self.found}, allowed: {self.allowed}"


Problems = list[Problem]
Decode = Callable[[Any, str, str, Problems], Any]
"""(value, path, section, problems) → the typed value; None where there was a problem."""


MOST = 1000
"""Problems. Who has that many does not read on; a hostile document could have millions."""


class EnoughError(Exception):
    """There are as many problems as are ever told: the rest of the document is not looked at."""


def note(problems: Problems, problem: Problem) -> None:
    """Add a problem. Raises EnoughError when there are MOST of them."""
    problems.append(problem)
    if len(problems) >= MOST:
        raise EnoughError


def _wrong(value: Any, allowed: str, path: str, section: str, problems: Problems) -> None:
    note(problems, Problem(path, show(value), allowed, section))


def text(*, empty: bool = True, absolute: bool = False) -> Decode:
    """A string without NUL; `absolute`: one that begins with a slash."""
    allowed = "an absolute path" if absolute else "a string" if empty else "a string, not empty"

    def decode(value: Any, path: str, section: str, problems: Problems) -> Any:
        if not isinstance(value, str):
            return _wrong(value, allowed, path, section, problems)
        if "\0" in value:
            return _wrong(value, "a string without NUL", path, section, problems)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                lone = Problem(path, "half of a surrogate pair", "Unicode text", section)
                return note(problems, lone)
        if (absolute and not value.startswith("/")) or not (empty or value):
            return _wrong(value, allowed, path, section, problems)
        return value

    return decode


def formatted(fits: Callable[[str], bool], allowed: str) -> Decode:
    """A string of a certain form, such as a list of CPUs; `allowed` describes it in a few words."""
    string = text()

    def decode(value: Any, path: str, section: str, problems: Problems) -> Any:
        found = string(value, path, section, problems)
        if found is not None and not fits(found):
            return _wrong(found, allowed, path, section, problems)
        return found

    return decode


def one_of(*names: str) -> Decode:
    """One of these strings."""
    known = frozenset(names)
    listed = [name for name in names if name]

    def decode(value: Any, path: str, section: str, problems: Problems) -> Any:
        if isinstance(value, str) and value in known:
            return value
        allowed = ", ".join(listed)
        if len(listed) > 12:
            near = _nearest(value, listed) if isinstance(value, str) else listed[0]
            allowed = f"one of {len(listed)} names, such as {near}"
        return _wrong(value, allowed, path, section, problems)

    return decode


def _nearest(word: str, names: Sequence[str]) -> str:
    """The name that has the longest beginning in common with `word`, whatever the case."""
    word = word[:40].upper()

    def alike(name: str) -> int:
        return next((at for at in range(len(name)) if word[: at + 1] != name[: at + 1]), len(name))

    return max(names, key=alike)


def integer(low: int, high: int) -> Decode:
    """A whole number in this range, ends included."""
    allowed = f"a whole number from {low} to {high}"

    def decode(value: Any, path: str, section: str, problems: Problems) -> Any:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)  # JSON has one kind of number: 1e3 is 1000
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            return _wrong(value, allowed, path, section, problems)
        return value

    return decode


U16, U32, U64 = integer(0, 2**16 - 1), integer(0, 2**32 - 1), integer(0, 2**64 - 1)
ID = integer(0, 2**32 - 2)
"""Of a user or group. (uid_t) -1 is none: it asks the kernel to leave things as they are, and a
process that shall become it stays root (CVE-2026-30892 of crun)."""
I32, I64 = integer(-(2**31), 2**31 - 1), integer(-(2**63), 2**63 - 1)


def boolean(value: Any, path: str, section: str, problems: Problems) -> Any:
    """true or false."""
    if not isinstance(value, bool):
        return _wrong(value, "true or false", path, section, problems)
    return value


def array(of: Decode, *, null: bool = False) -> Decode:
    """An array whose elements are all of one kind; a tuple here. `null`: Go's for an empty one."""

    def decode(value: Any, path: str, section: str, problems: Problems) -> Any:
        if value is None and null:
            return ()
        if not isinstance(value, list):
            return _wrong(value, "an array", path, section, problems)
        return tuple(
            of(one, f"{path}[{index}]", section, problems) for index, one in enumerate(value)
        )

    return decode


def mapping(of: Decode, key_kind: Decode | None = None) -> Decode:
    """An object with keys of one kind (default: any text), and values of one kind; a dict here."""
    key_kind = key_kind or text(empty=False)

    def decode(value: Any, path: str, section: str, problems: Problems) -> Any:
        if not isinstance(value, dict):
            return _wrong(value, "an object", path, section, problems)
        found = {}
        for key, one in value.items():
            at = f"{path}[{show(key)}]"
            if key_kind(key, at, section, problems) is not None:
                found[key] = of(one, at, section, problems)
        return found

    return decode


def names(value: Any, path: str, section: str, problems: Problems) -> Any:
    """A set of names, which Go writes as an object of empty objects; a frozenset here."""
    if not isinstance(value, dict):
        return _wrong(value, "an object of empty objects", path, section, problems)
    name = text(empty=False)
    found = [name(one, f"{path}[{show(one)}]", section, problems) for one in value]
    return frozenset(one for one in found if one is not None)


def record(kind: type[Any]) -> Decode:
    """An object of the spec."""

    def decode(value: Any, path: str, section: str, problems: Problems) -> Any:
        return decode_object(kind, value, path, section, problems)

    return decode


def member(name: str, kind: Decode, section: str = "", *, required: bool = False) -> Any:
    """A field for the JSON member `name`. Absent is None, unless it is required."""
    metadata = {"json": name, "kind": kind, "section": section}
    return told(metadata) if required else told(metadata, None)


def extras() -> Any:
    """The field that keeps an object's unknown members."""
    return field(default_factory=dict)


_Entry = tuple[str, str, Decode, str, bool]
_TABLES: dict[type[Any], tuple[_Entry, ...]] = {}  # a memo of constants, not state


def table(kind: type[Any]) -> tuple[_Entry, ...]:
    """(JSON name, attribute, kind, section, required) of each member, in the spec's order."""
    found = _TABLES.get(kind)
    if found is None:
        found = _TABLES[kind] = tuple(
            (one["json"], name, one["kind"], one["section"], required(kind, name))
            for name, one in metadata_of(kind).items()
        )  # fmt: skip
    return found


def decode_object(
    kind: type[T], value: Any, path: str, section: str, problems: Problems
) -> T | None:
    """The `kind` in the JSON object `value`; None, with problems noted, if it cannot be one."""
    if not isinstance(value, dict):
        _wrong(value, "an object", path, section, problems)
        return None
    values: dict[str, Any] = {}
    rest = dict(value)
    whole = True
    prefix = f"{path}." if path else ""
    for name, attribute, decode, where, needed in table(kind):
        if name in rest:
            given = rest.pop(name)
            if given is None and not needed:
                continue  # Go writes null for what is absent
            found = values[attribute] = decode(given, prefix + name, where or section, problems)
            whole = whole and not (needed and found is None)
        elif needed:
            missing = Problem(prefix + name, "nothing", "it is required", where or section)
            note(problems, missing)
            whole = False
    if not whole:
        return None
    if rest:
        values["extra"] = rest
    return kind(**values)


def encode(value: Any) -> Any:
    """JSON values of an object of the spec: members in the spec's order, then unknown ones."""
    if isinstance(value, (tuple, list)):
        return [encode(one) for one in value]
    if isinstance(value, dict):
        return {key: encode(one) for key, one in value.items()}
    if isinstance(value, frozenset):
        return {name: {} for name in sorted(value)}
    if isinstance(value, str):
        return str(value)  # a digest is one too, which YAML's writer would not know
    if not hasattr(type(value), "__fields__"):
        return value
    document = {}
    for name, attribute, _, _, _ in table(type(value)):
        one = getattr(value, attribute)
        if one is not None:
            document[name] = encode(one)
    document.update(encode(value.extra))
    return document
