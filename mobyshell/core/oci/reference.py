"""References: the names of images, `[domain/]path[:tag][@digest]` (Docker's reference grammar).

Owns the value, its checks, and the short forms that people type: `busybox` is
`docker.io/library/busybox:latest`. Never asks a registry whether there is such an image.
"""

from __future__ import annotations

import re

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.digest import Digest, is_digest
from mobyshell.core.oci.safejson import show
from mobyshell.core.values import replace, value

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_OLD_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"

LONGEST_PATH = 255
_LONGEST_DOMAIN = 255
_LONGEST = _LONGEST_DOMAIN + LONGEST_PATH + 128 + 140

# each is matched against one short part that has been cut off before, and none can backtrack:
# what follows a repetition is never what it repeats
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:]{2,45}\]")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")

_HINT = "[domain/]name[:tag][@digest], such as busybox or registry.example.com:5000/a/b:1.0"


@value
class Reference:
    """The full name of an image. Where there is a digest, it decides, and a tag only informs."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """Domain and path: the repository."""
        return f"{self.domain}/{self.path}"

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest, or else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}@{self.digest}" if self.digest else f"{self.name}{tag}"

    @property
    def familiar(self) -> str:
        """As people write it: without what goes without saying."""
        text = str(self)
        if self.domain == DEFAULT_DOMAIN:
            text = text.removeprefix(f"{DEFAULT_DOMAIN}/")
            if self.path.count("/") == 1:
                text = text.removeprefix(_OFFICIAL)
        if self.tag == DEFAULT_TAG and not self.digest:
            text = text.removesuffix(f":{DEFAULT_TAG}")
        return text if _reads_as(text, self) else str(self)

    def with_tag(self, tag: str) -> Reference:
        """The same repository, another tag, no digest. UsageError."""
        return replace(self, tag=_checked_tag(tag, tag), digest=None)


def parse_reference(text: str) -> Reference:
    """What `text` names, in full: the default domain and, without a tag or digest, `latest`.

    UsageError, whose message says what is wrong with it.
    """
    if not isinstance(text, str) or not text or len(text) > _LONGEST:
        raise _invalid(text, "it is empty" if not text else "it is too long")
    if _IDENTIFIER.fullmatch(text):
        raise _invalid(text, "64 hexadecimal digits are an image's id, not its name")
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, f"{show(digest)} is not a digest")
    domain, path = _split(rest)
    path, colon, tag = path.partition(":")
    _check_domain(domain, text)
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    _check_path(path, text)
    if colon:
        _checked_tag(tag, text)
    found_tag = tag if colon else None if at else DEFAULT_TAG
    return Reference(domain, path, found_tag, Digest(digest) if at else None)


def is_repository(path: str) -> bool:
    """Whether `path` can be a repository of a registry, without the registry's own name."""
    return 0 < len(path) <= LONGEST_PATH and all(map(_COMPONENT.fullmatch, path.split("/")))


def is_tag(word: str) -> bool:
    """Whether `word` can be a tag."""
    return _TAG.fullmatch(word) is not None


def _split(name: str) -> tuple[str, str]:
    """Domain and path. What stands before the first slash is a domain if nothing else fits."""
    first, slash, rest = name.partition("/")
    if not slash:
        return DEFAULT_DOMAIN, name
    if not (set(first) & set(".:[") or first == "localhost" or first != first.lower()):
        return DEFAULT_DOMAIN, name
    return (DEFAULT_DOMAIN if first == _OLD_DOMAIN else first), rest


def _check_domain(domain: str, text: str) -> None:
    host, port = domain, ""
    if domain.startswith("["):
        host, bracket, port = domain.partition("]")
        host += bracket
    else:
        host, colon, port = domain.partition(":")
        port = colon + port
    fits = _IPV6.fullmatch(host) or (
        _HOST.fullmatch(host)
        and not any(part[0] == "-" or part[-1] == "-" for part in host.split("."))
    )
    if not fits or len(domain) > _LONGEST_DOMAIN or not _is_port(port):
        raise _invalid(text, f"{show(domain)} is not the address of a registry")


def _is_port(text: str) -> bool:
    digits = text[1:]
    return not text or (
        text[0] == ":" and digits.isascii() and digits.isdecimal() and len(digits) < 6
        and int(digits) < 65536
    )  # fmt: skip


def _check_path(path: str, text: str) -> None:
    if path != path.lower():
        raise _invalid(text, f"the repository's name, {show(path)}, must be lower case")
    if len(path) > LONGEST_PATH:
        raise _invalid(text, f"the repository's name is longer than {LONGEST_PATH}")
    if not is_repository(path):
        raise _invalid(text, f"{show(path)} is not a repository's name")


def _checked_tag(tag: str, text: str) -> str:
    if not is_tag(tag):
        raise _invalid(text, f"{show(tag)} is not a tag")
    return tag


def _reads_as(text: str, reference: Reference) -> bool:
    try:
        return parse_reference(text) == reference
    except UsageError:
        return False


def _invalid(text: str, why: str) -> UsageError:
    return UsageError(f"invalid reference {show(text)}: {why}", hint=_HINT)
