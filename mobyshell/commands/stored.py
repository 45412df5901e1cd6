"""What the verbs on stored things have in common: labels, names as people write them, times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import NotFound, SyscallFailed, TimedOut, UsageError
from mobyshell.core.oci.digest import Digest, is_digest
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.oci.safejson import show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mobyshell.commands.context import Context
    from mobyshell.core.store.store import Namespace

_SHORTEST = 4
"""Digits of a digest that are enough, if no other begins with them."""


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


def image_name(space: Namespace, word: str) -> str:
    """The name of an image as it is kept: just as it was written, if there is one, or in full."""
    try:
        return space.images.get(word).name
    except NotFound:
        return str(parse_reference(word))


def digest_of(space: Namespace, word: str) -> Digest:
    """The digest that `word` is, or the beginning of, with or without its algorithm."""
    if is_digest(word):
        return Digest(word)
    algorithm, colon, digits = word.partition(":") if ":" in word else ("sha256", ":", word)
    if len(digits) < _SHORTEST or not set(digits) <= set("0123456789abcdef"):
        return Digest(word)  # which says what is wrong with it
    found = [one.digest for one in space.content.walk()
             if one.digest.startswith(f"{algorithm}{colon}{digits}")]  # fmt: skip
    if len(found) > 1:
        raise UsageError(f"{len(found)} blobs begin with {word}", hint="more digits, please")
    if not found:
        raise NotFound(f"no content {word}… in namespace {space.name}",
                       hint="`mobyshell content ls` lists what there is")  # fmt: skip
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
