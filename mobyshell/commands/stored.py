"""What the verbs on stored things have in common: labels, names as people write them, times."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import NotFound, SyscallFailed, TimedOut, UsageError
from mobyshell.core.oci.digest import Digest, is_digest
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.oci.safejson import show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mobyshell.commands.context import Context
    from mobyshell.core.store.snapshots.protocol import Snapshotter
    from mobyshell.core.store.store import Namespace

_SHORTEST = 4
"""Digits of a digest that are enough, if no other begins with them."""
_TOLD = 12
"""Digits that are enough without the algorithm, where they could be an image's name as well: as many
as tables show."""
_HEXADECIMAL = frozenset("0123456789abcdef")


def labels_of(words: Sequence[str]) -> dict[str, str]:
    """`key=value` words as labels. UsageError for others."""
    return {key: value or "" for key, value in changes_of(words).items()}


def bare_labels(words: Sequence[str]) -> dict[str, str]:
    """As `labels_of`, and a word alone is a label without a value, as docker takes it for networks
    and volumes. UsageError for a word without a name."""
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name:
            raise UsageError(f"the label {word!r:.60} has no name", hint="NAME=VALUE")
        found[name] = value
    return found


def changes_of(words: Sequence[str]) -> dict[str, str | None]:
    """`key=value` words as changes of labels; `key=` takes one away."""
    found: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"not a label: {show(word)}", hint="KEY=VALUE; KEY= takes one away")
        found[key] = value or None
    return found


def kept_labels(ctx: Context, words: Sequence[str]) -> dict[str, str]:
    """These labels, and the one that keeps what was made by hand until it is removed by hand."""
    from mobyshell.core.clock import rfc3339
    from mobyshell.core.store.labels import GC_ROOT

    return {GC_ROOT: rfc3339(ctx.clock.now_ns()), **labels_of(words)}


def image_name(space: Namespace, word: str, *, only: bool = False) -> str:
    """The name of an image as it is kept: just as it was written, or in full, if there is one; else of
    the one whose digest the word is, or the beginning of; else in full. With `only` a digest that has
    several names is refused: UsageError, as where several images begin so."""
    if _known(space, word):
        return word
    beginning = _beginning(word, _TOLD)
    images = space.images.list() if beginning else []
    found = [one for one in images if one.target.digest.startswith(beginning)]
    if not found:
        return str(parse_reference(word))
    with suppress(UsageError):  # all digits of a digest are no name
        full = str(parse_reference(word))
        if _known(space, full):
            return full
    if len({one.target.digest for one in found}) > 1:
        raise UsageError(f"several images begin with {word}", hint="more digits, please")
    if only and len(found) > 1:
        raise UsageError(f"{word} has {len(found)} names",
                         hint=f"one of {', '.join(one.name for one in found[:5])}")  # fmt: skip
    return found[0].name


def _known(space: Namespace, name: str) -> bool:
    try:
        return space.images.get(name).name == name
    except NotFound:
        return False


def digest_of(space: Namespace, word: str) -> Digest:
    """The digest that `word` is, or the beginning of, with or without its algorithm."""
    if is_digest(word):
        return Digest(word)
    beginning = _beginning(word, _SHORTEST)
    if not beginning:
        return Digest(word)  # which says what is wrong with it
    found = [one.digest for one in space.content.walk() if one.digest.startswith(beginning)]
    if len(found) > 1:
        raise UsageError(f"{len(found)} blobs begin with {word}", hint="more digits, please")
    if not found:
        raise NotFound(f"no content {word}… in namespace {space.name}",
                       hint="`mobyshell content ls` lists what there is")  # fmt: skip
    return found[0]


def _beginning(word: str, bare: int) -> str:
    """A word that may be the beginning of a digest, with its algorithm; "" for any other. Without an
    algorithm it takes `bare` digits."""
    algorithm, colon, digits = word.partition(":")
    if not colon:
        algorithm, digits = "sha256", word
    long_enough = len(digits) >= (_SHORTEST if colon else bare)
    if algorithm not in ("sha256", "sha512") or not long_enough or set(digits) - _HEXADECIMAL:
        return ""
    return f"{algorithm}:{digits}"


def snapshot_key(snapshots: Snapshotter, word: str) -> str:
    """The key of a snapshot: the word itself, or of a layer's the digest that it is the beginning of.
    Where there is none, the word: who uses it says so. UsageError where several begin so."""
    if is_digest(word) or ":" not in word or not _beginning(word, _SHORTEST):
        return word
    keys = [one.name for one in snapshots.walk()]
    found = [key for key in keys if key.startswith(word) and is_digest(key)]
    if word in keys or not found:
        return word
    if len(found) > 1:
        raise UsageError(f"{len(found)} snapshots begin with {word}", hint="more digits, please")
    return found[0]


def none_here(ctx: Context, what: str) -> str:
    """That there are none, and where there are: people look for them in the wrong namespace."""
    others = [
        f"{one.name} has {one.inside[what]}"
        for one in ctx.store.namespaces.list(count=True)
        if one.name != ctx.namespace and one.inside.get(what)
    ]
    said = f"no {what} in namespace {ctx.namespace}"
    return f"{said}; {', '.join(others[:5])}" if others else said


def ns(seconds: float) -> int:
    """A time of the store as rows have it: nanoseconds since the epoch."""
    return int(seconds * 1e9)


def plain(labels: Mapping[str, str]) -> dict[str, Any]:
    """Labels as values of a row."""
    return dict(labels)


def say_freed(freed: int, removed: int) -> str:
    """What a collection did, for a person."""
    from mobyshell.commands.output import size

    if not removed and not freed:
        return ""
    return f"collected {removed} object{'s'[: removed != 1]}, {size(freed)} back"


def collect(ctx: Context) -> str:
    """Collect garbage after something was removed, and say what came back.

    What was asked for is done by then: what cannot be collected now is for the next time.
    """
    try:
        done = ctx.store.collect()
    except (SyscallFailed, TimedOut) as error:
        return f"garbage is left, for the next `store gc`: {error.message}"
    if done.foreign:
        return FOREIGN
    return say_freed(done.freed, len(done.removed))


FOREIGN = (
    "no file was removed: they are of a database that was lost, or was newer;"
    " `mobyshell doctor --store` says more"
)
