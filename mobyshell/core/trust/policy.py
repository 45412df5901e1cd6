"""The trust policy: whose images may be used, and who has to have signed them.

    default = "accept"                        # or "reject", for what no rule is about

    [[organisation]]
    name = "Example"
    images = ["registry.example.com/", "docker.io/example/"]      # beginnings of names
    require = "signature"                     # or "accept", "reject"
    keys = ["example.pub", "release.pub"]     # PEM files, relative to this one
    threshold = 1                             # by how many of them
    identity = true                           # signed under this very name, not only this digest

The longest beginning decides. Owns the file's format and the decision; fetches nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from mobyshell.core.errors import InvalidSpec, Refused, UsageError
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.reference import Reference
from mobyshell.core.trust.keys import PublicKey, read_public
from mobyshell.core.trust.signatures import Signed, verified

LARGEST = 1 << 20


class Require(StrEnum):
    """What an image needs to be used."""

    ACCEPT = "accept"
    REJECT = "reject"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Organisation:
    """A rule. `images`: beginnings of full names, at a border of their parts."""

    name: str
    images: tuple[str, ...]
    require: Require
    keys: tuple[PublicKey, ...] = ()
    threshold: int = 1
    identity: bool = False

    def covers(self, name: str) -> int:
        """How much of a repository's name the rule is about; 0 for nothing."""
        fitting = (
            one for one in self.images
            if name == one.rstrip("/") or name.startswith(one if one.endswith("/") else f"{one}/")
        )  # fmt: skip
        return max(map(len, fitting), default=0)


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules."""

    default: Require = Require.ACCEPT
    organisations: tuple[Organisation, ...] = ()

    def rule_for(self, reference: Reference) -> Organisation:
        """The rule about an image."""
        ranked = [(one.covers(reference.name), one) for one in self.organisations]
        longest, rule = max(ranked, key=lambda entry: entry[0], default=(0, None))
        if rule is None or not longest:
            return Organisation("", (), self.default)
        return rule

    def check(
        self, reference: Reference, digest: Digest, signatures: Callable[[], Iterable[Signed]]
    ) -> Organisation:
        """The rule that allows this image. `signatures` is asked only where they count.

        Refused, with who would have had to sign.
        """
        rule = self.rule_for(reference)
        if rule.require is Require.REJECT:
            whose = f" of {rule.name}" if rule.name else ""
            raise Refused(f"the trust policy rejects images{whose}: {reference.name}")
        if rule.require is Require.ACCEPT:
            return rule
        name = reference.name if rule.identity else ""
        found = verified(signatures(), rule.keys, digest, name)
        if len(found) < rule.threshold:
            raise Refused(
                f"{reference} ({digest}) is signed by {len(found)} of the keys of {rule.name}, "
                f"{rule.threshold} are needed",
                hint="ask who publishes it; `mobyshell image verify` shows its signatures",
            )
        return rule


def read_policy(path: Path) -> Policy:
    """The policy in a file. InvalidSpec, which names the line or the rule, if it is none: then
    nothing is trusted."""
    try:
        data = path.read_bytes()
        if len(data) > LARGEST:
            raise InvalidSpec(f"{path} is too long for a trust policy")
        document = tomllib.loads(data.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSpec(f"the trust policy {path}: {error}") from None
    known = {"default", "organisation"}
    if unknown := set(document) - known:
        raise InvalidSpec(f"the trust policy {path}: unknown {_shown(unknown)}")
    rules = document.get("organisation", [])
    if not isinstance(rules, list):
        raise InvalidSpec(f"the trust policy {path}: organisation is a list of tables")
    default = _require(document.get("default", "accept"), path, "default")
    if default is Require.SIGNATURE:
        raise InvalidSpec(f"the trust policy {path}: default is accept or reject")
    return Policy(default, tuple(_organisation(one, path) for one in rules))


def _organisation(document: Any, path: Path) -> Organisation:
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise InvalidSpec(f"the trust policy {path}: an organisation without a name")
    name = document["name"]
    known = {"name", "images", "require", "keys", "threshold", "identity"}
    if unknown := set(document) - known:
        raise InvalidSpec(f"the trust policy {path}: {name}: unknown {_shown(unknown)}")
    images = _texts(document.get("images"), path, f"{name}: images")
    require = _require(document.get("require"), path, name)
    files = _texts(document.get("keys", []), path, f"{name}: keys")
    keys = {key.id: key for key in (_key(path.parent / one, path, name) for one in files)}
    threshold, identity = document.get("threshold", 1), document.get("identity", False)
    if not isinstance(threshold, int) or isinstance(threshold, bool) or threshold < 1:
        raise InvalidSpec(f"the trust policy {path}: {name}: threshold is a number from 1")
    if not isinstance(identity, bool):
        raise InvalidSpec(f"the trust policy {path}: {name}: identity is true or false")
    if not images:
        raise InvalidSpec(f"the trust policy {path}: {name} is about no images")
    if require is Require.SIGNATURE and len(keys) < threshold:
        raise InvalidSpec(
            f"the trust policy {path}: {name} needs {threshold} keys, has {len(keys)}"
        )
    return Organisation(name, images, require, tuple(keys.values()), threshold, identity)


def _key(file: Path, path: Path, name: str) -> PublicKey:
    try:
        return read_public(file.read_bytes()[:LARGEST])
    except (OSError, UsageError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidSpec(f"the trust policy {path}: {name}: {file}: {why}") from None


def _shown(words: set[str]) -> str:
    return ", ".join(sorted(words))


def _require(word: Any, path: Path, what: str) -> Require:
    try:
        return Require(word)
    except ValueError:
        raise InvalidSpec(
            f"the trust policy {path}: {what}: {word!r:.40} is none of accept, reject, signature"
        ) from None


def _texts(value: Any, path: Path, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise InvalidSpec(f"the trust policy {path}: {what} is a list of texts")
    return tuple(value)
