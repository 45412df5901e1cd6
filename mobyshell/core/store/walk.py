"""An image's documents, read out of the content of a namespace: index → manifest → configuration.

Owns the way from a target to what a container is made of on one platform, and what refers to
what. Changes nothing. Content is a stranger's: types must be the promised ones, depth is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

from mobyshell.core.errors import InvalidImage, NotFound, StoreDamaged
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_config import ImageConfig, chain_ids
from mobyshell.core.oci.image_spec import (
    check_layers,
    parse_document,
    parse_image_config,
    parse_manifest,
)
from mobyshell.core.oci.index import Index
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.platform import Matcher, Platform, matcher
from mobyshell.core.oci.safejson import LARGEST
from mobyshell.core.store.content.content import Content
from mobyshell.core.values import value

DEEPEST = 4
"""Indexes within indexes. One is common, two are rare."""

MOST_DOCUMENTS = 5_000


@value
class Resolved:
    """An image on one platform: its manifest and configuration, which agree about its layers."""

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """As they are stored, the lowest first."""
        return self.manifest.layers

    @property
    def chain_ids(self) -> tuple[Digest, ...]:
        """For each layer the name of the tree that it makes on all below it."""
        return chain_ids(self.config.diff_ids)

    @property
    def chain_id(self) -> str:
        """The name of the whole tree; "" of an image without layers."""
        return self.chain_ids[-1] if self.layers else ""


@value
class Variant:
    """An image of an index: for which platform, and whether all of it is here."""

    descriptor: Descriptor
    platform: Platform | None
    present: bool


def document(content: Content, one: Descriptor) -> Manifest | Index:
    """The manifest or index that `one` describes.

    Raises:
        NotFound: it is not here.
        InvalidImage: it is something else, or not what it was said to be.
    """
    return parse_document(_read(content, one), one.media_type, f"{one.digest}")


def resolve(content: Content, target: Descriptor, wanted: Matcher | None = None) -> Resolved:
    """What is run of `target` on the `wanted` platform (this machine's).

    The best of an index that is here is taken: of a sparse one, the others need not be.

    Raises:
        NotFound: there is no image for the platform, or parts of it are not here.
        InvalidImage: a document is none, or it is no image but another artifact.
    """
    wanted = wanted or matcher()
    found = _resolve(content, target, wanted, 0)
    if found is None:
        names = {str(one.platform) for one in variants(content, target) if one.platform}
        raise NotFound(
            f"{target.digest} has no image for {wanted}",
            hint=f"there are: {', '.join(sorted(names))}" if names else "",
        )
    return found


def _resolve(content: Content, one: Descriptor, wanted: Matcher, depth: int) -> Resolved | None:
    if depth > DEEPEST:
        raise InvalidImage(f"{one.digest}: an index within {DEEPEST} others")
    if not media_types.is_index(one.media_type):
        return _image(content, one, wanted)
    index = document(content, one)
    assert isinstance(index, Index)
    absent: NotFound | None = None
    for candidate in index.candidates(wanted):
        if media_types.is_index(candidate.media_type) or media_types.is_manifest(
            candidate.media_type
        ):
            if not content.has(candidate.digest):
                absent = absent or _not_here(candidate)
                continue
            try:
                found = _resolve(content, candidate, wanted, depth + 1)
            except NotFound as error:
                absent = absent or error
                continue
            if found is not None:
                return found
    if absent is not None:
        raise absent
    return None


def _not_here(one: Descriptor) -> NotFound:
    platform = str(one.platform) if one.platform else ""
    what = f"the image for {platform}" if platform else "a part of the index"
    hint = f"`image pull --platform {platform}` has it" if platform else "pull the image again"
    return NotFound(f"{what}, {one.digest}, is not here", hint=hint)


def _image(content: Content, one: Descriptor, wanted: Matcher) -> Resolved | None:
    manifest = parse_manifest(_read(content, one), one.media_type, f"{one.digest}")
    if not manifest.is_image:
        raise InvalidImage(
            f"{one.digest} is no image that could be run: "
            f"{manifest.artifact_type or manifest.config.media_type}"
        )
    config = parse_image_config(_read(content, manifest.config), f"{manifest.config.digest}")
    check_layers(manifest, config, f"{one.digest}")
    # what an index says about it is not asked again: the configuration is the image's own word
    return Resolved(one, manifest, config) if wanted.matches(config.platform) else None


def children(content: Content, one: Descriptor) -> tuple[Descriptor, ...]:
    """What a document refers to, the configuration first; nothing for other blobs, nor for a
    document that is not here."""
    if not (media_types.is_index(one.media_type) or media_types.is_manifest(one.media_type)):
        return ()
    if not content.has(one.digest):
        return ()
    return document(content, one).children


def everything(content: Content, target: Descriptor) -> Iterator[Descriptor]:
    """`target` and all below it that is here, each once, parents before children.

    Raises:
        InvalidImage: there are too many, or they are nested too deep.
    """
    seen: set[Digest] = set()
    pending = [(target, 0)]
    while pending:
        one, depth = pending.pop()
        if one.digest in seen or not content.has(one.digest):
            continue
        if depth > DEEPEST + 2 or len(seen) > MOST_DOCUMENTS:
            raise InvalidImage(f"{target.digest} has too many documents, or they go too deep")
        seen.add(one.digest)
        yield one
        pending += [(child, depth + 1) for child in reversed(children(content, one))]


def variants(content: Content, target: Descriptor) -> list[Variant]:
    """The images of `target`, of whatever platform: one, unless it is an index."""
    if not media_types.is_index(target.media_type):
        return [_variant(content, target)]
    found: list[Variant] = []
    pending = [(target, 0)]
    while pending:
        one, depth = pending.pop(0)
        if media_types.is_index(one.media_type) and content.has(one.digest) and depth < DEEPEST:
            pending += [(child, depth + 1) for child in children(content, one)]
        elif media_types.is_manifest(one.media_type) and not one.is_attestation:
            found.append(_variant(content, one))
        if len(found) > MOST_DOCUMENTS:
            break
    return found


def _variant(content: Content, one: Descriptor) -> Variant:
    if not content.has(one.digest):
        return Variant(one, one.platform, False)
    parts = children(content, one)
    present = all(content.has(part.digest) for part in parts)
    platform = one.platform
    if platform is None and parts and content.has(parts[0].digest):
        if not media_types.is_config(parts[0].media_type):
            return Variant(one, None, present)
        platform = parse_image_config(_read(content, parts[0])).platform
    return Variant(one, platform, present)


def lost(content: Content, target: Descriptor) -> tuple[Descriptor, ...]:
    """What is not here of what this machine runs of `target`, and has been: a manifest comes after
    all that it refers to. What was never fetched of an index is not lost; but it has come for some
    machine, or else the manifest for this one is named. InvalidImage, StoreDamaged."""
    absent: list[Descriptor] = []
    pending = [(target, 0)]
    while pending:
        one, depth = pending.pop(0)
        if not content.has(one.digest):
            absent.append(one)
        elif media_types.is_manifest(one.media_type):
            parts = children(content, one)
            return tuple(part for part in parts if not content.has(part.digest))
        elif media_types.is_index(one.media_type) and depth < DEEPEST:
            index = document(content, one)
            assert isinstance(index, Index)
            pending = [(child, depth + 1) for child in index.candidates(matcher())] + pending
    here = any(content.has(one.descriptor.digest) for one in variants(content, target))
    return () if here else tuple(absent[:1])


def missing(content: Content, image: Resolved) -> tuple[Descriptor, ...]:
    """The layers of an image that are not here."""
    return tuple(one for one in image.layers if not content.has(one.digest))


def _read(content: Content, one: Descriptor) -> bytes:
    if one.size > LARGEST:
        raise InvalidImage(f"{one.digest}: {one.size} bytes are too many for a document")
    with content.open(one.digest) as blob:
        if blob.size != one.size:
            raise InvalidImage(
                f"{one.digest} has {blob.size} bytes, and was said to have {one.size}"
            )
        data = blob.read()
    if not one.digest.verifies(data):
        raise StoreDamaged(
            f"blob {one.digest} holds other bytes",
            hint="mobyshell store check --repair drops it; then pull it again",
        )
    return data
