"""The way into the documents of an image: manifest, index, configuration.

Owns reading them from strangers: bounded JSON, the type that was promised, no document that is two
things at once (GHSA-77vh-xpmg-72qh), no more layers than a container can have. Documents are
written back as the bytes they came in, since these have the digest; `dump` is for new ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

from mobyshell.core.errors import InvalidImage, InvalidSpec, Unsupported
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor, problems_of
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_config import ImageConfig
from mobyshell.core.oci.index import Index
from mobyshell.core.oci.kinds import EnoughError, Problem, decode_object, encode
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.safejson import read_json, show

T = TypeVar("T", Manifest, Index, ImageConfig)

MOST_LAYERS = 500
"""overlayfs takes as many lower directories; containerd and Docker have no image with more."""

MOST_MANIFESTS = 5_000

LARGEST_SIZE = 2**60
"""Bytes, of one blob. What says it is larger lies."""


def parse_document(
    content: bytes, media_type: str | None = None, what: str = "manifest"
) -> Manifest | Index:
    """The manifest or index in `content`, of which `media_type` was promised (None: nothing was).

    InvalidImage with every problem; Unsupported for Docker's schema 1.
    """
    document = _read(content, what)
    if _is_index(document, media_type, what):
        return _made(Index, document, what)
    return _made(Manifest, document, what)


def parse_manifest(
    content: bytes, media_type: str | None = None, what: str = "manifest"
) -> Manifest:
    """As `parse_document`, where only a manifest will do."""
    found = parse_document(content, media_type, what)
    if not isinstance(found, Manifest):
        raise InvalidImage(f"{what} is an index, not a manifest", hint="choose a platform of it")
    return found


def parse_index(content: bytes, media_type: str | None = None, what: str = "index") -> Index:
    """As `parse_document`, where only an index will do."""
    found = parse_document(content, media_type, what)
    if not isinstance(found, Index):
        raise InvalidImage(f"{what} is a manifest, not an index")
    return found


def parse_image_config(content: bytes, what: str = "image configuration") -> ImageConfig:
    """The configuration of an image in `content`. InvalidImage with every problem."""
    document = _read(content, what)
    for name in ("manifests", "layers"):
        if document.get(name) is not None:
            raise InvalidImage(f"{what} has {name}: it is another kind of document")
    return _made(ImageConfig, document, what)


def check_layers(manifest: Manifest, config: ImageConfig, what: str = "image") -> None:
    """InvalidImage unless manifest and configuration speak of the same number of layers."""
    found, allowed = len(manifest.layers), len(config.diff_ids)
    if found != allowed:
        raise InvalidImage(
            f"{what}: {found} layers in its manifest, {allowed} in its configuration"
        )


def image_to_json(value: Any) -> Any:
    """A document of an image, or any object of it, as JSON values."""
    return encode(value)


def dump_image(value: Manifest | Index | ImageConfig | Descriptor) -> bytes:
    """The bytes of a new document: the same for the same value, whoever writes it."""
    return json.dumps(encode(value), separators=(",", ":"), ensure_ascii=False).encode()


def _read(content: bytes, what: str) -> dict[str, Any]:
    try:
        document = read_json(content, what)
    except InvalidSpec as error:
        raise InvalidImage(error.message, hint=error.hint) from None
    if not isinstance(document, dict):
        raise InvalidImage(f"{what} is {show(document)}, not an object")
    return document


def _is_index(document: dict[str, Any], promised: str | None, what: str) -> bool:
    """What the document is, by its type and by its members, which have to agree."""
    named = document.get("mediaType")
    if named is not None and not isinstance(named, str):
        raise InvalidImage(f"{what}: its mediaType is {show(named)}, not a string")
    _refuse_schema_1(document, promised, what)
    if promised and named and promised != named:
        raise InvalidImage(f"{what} is said to be {show(promised)}, and says itself {show(named)}")
    index = document.get("manifests") is not None
    both = [name for name in ("layers", "config") if index and document.get(name) is not None]
    if both:
        raise InvalidImage(f"{what} has manifests and {both[0]}: it would be two things at once")
    kind = promised or named
    if kind is None:
        return index
    if kind not in media_types.DOCUMENTS:
        raise InvalidImage(f"{what} is no image: its type is {show(kind)}")
    if media_types.is_index(kind) != index and (index or "manifests" not in document):
        has = "manifests" if index else "no manifests"
        raise InvalidImage(f"{what} is said to be {show(kind)}, but has {has}")
    return media_types.is_index(kind)


def _refuse_schema_1(document: dict[str, Any], promised: str | None, what: str) -> None:
    old = {promised, document.get("mediaType")} & media_types.SCHEMA_1
    if old or document.get("fsLayers") is not None or document.get("schemaVersion") == 1:
        raise Unsupported(
            f"{what} is of Docker's schema 1, which is not read: its layers have no digests",
            hint="pull it with an old Docker, and push it again",
        )


def _made(kind: type[T], document: dict[str, Any], what: str) -> T:
    problems: list[Problem] = []
    made: T | None = None
    try:
        made = decode_object(kind, document, "", "image-spec", problems)
    except EnoughError:
        pass
    if made is not None and not problems:
        problems += _rules(made)
    if problems or made is None:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        raise InvalidImage(
            f"{what}: {problems[0]}{more}",
            hint=f"see image-spec {problems[0].section}",
            problems=[str(one) for one in problems],
        )
    return made


def _rules(made: Manifest | Index | ImageConfig) -> Iterator[Problem]:
    section = "image-spec"
    if isinstance(made, ImageConfig):
        yield from _at_most(made.diff_ids, MOST_LAYERS, "rootfs.diff_ids")
        return
    if isinstance(made, Manifest):
        yield from _at_most(made.layers, MOST_LAYERS, "layers")
        parts = [("config", made.config), *_placed("layers", made.layers)]
    else:
        yield from _at_most(made.manifests, MOST_MANIFESTS, "manifests")
        parts = _placed("manifests", made.manifests)
    if made.subject:
        parts.append(("subject", made.subject))
    sizes: dict[Digest, int] = {}
    for path, one in parts:
        if one.size > LARGEST_SIZE:
            yield Problem(f"{path}.size", str(one.size), f"at most {LARGEST_SIZE}", section)
        if sizes.setdefault(one.digest, one.size) != one.size:
            yield Problem(f"{path}.size", str(one.size), "one size of one digest", section)
        yield from problems_of(one, path)


def _at_most(values: tuple[Any, ...], most: int, path: str) -> Iterator[Problem]:
    if len(values) > most:
        yield Problem(path, f"{len(values)} elements", f"at most {most}", "image-spec")


def _placed(name: str, values: tuple[Descriptor, ...]) -> list[tuple[str, Descriptor]]:
    return [(f"{name}[{index}]", one) for index, one in enumerate(values)]
