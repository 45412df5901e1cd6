"""What the rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from mobyshell.core.oci.kinds import Problem
from mobyshell.core.oci.spec import Spec

T = TypeVar("T")
Rule = Callable[[Spec], Iterator[Problem]]


def each(values: Iterable[T] | None) -> Iterator[tuple[int, T]]:
    """The elements of an array with their places, without those that could not be read."""
    return ((index, one) for index, one in enumerate(values or ()) if one is not None)


def has(spec: Spec, kind: str) -> bool:
    """Whether the container has a namespace of this kind that is not its maker's."""
    namespaces = spec.linux.namespaces if spec.linux else None
    return any(one.type == kind for _, one in each(namespaces))


def makes(spec: Spec, kind: str) -> bool:
    """Whether it gets a new one, instead of joining one by its path."""
    namespaces = spec.linux.namespaces if spec.linux else None
    return any(one.type == kind and not one.path for _, one in each(namespaces))
