"""Digests: what is one, and which bytes it names."""

from __future__ import annotations

import copy
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.digest import Digest, is_digest, new_hasher

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.binary(), st.sampled_from(["sha256", "sha512"]))
def test_names_its_bytes(data: bytes, algorithm: str) -> None:
    digest = Digest.of(data, algorithm)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    assert (digest.algorithm, digest.hex) == (algorithm, hashlib.new(algorithm, data).hexdigest())
    assert digest.verifies(data)
    assert not digest.verifies(data + b"x")
    hasher = digest.hasher()
    hasher.update(data)
    assert Digest.from_hasher(hasher) == digest == Digest(str(digest))
    assert type(pickle.loads(pickle.dumps(digest))) is Digest
    assert copy.deepcopy(digest) == digest


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "sha256", "sha256:", EMPTY[:-1], EMPTY + "0", EMPTY.upper(), EMPTY + "\n", " " + EMPTY,
        EMPTY.replace("e3", "g3"), EMPTY.replace("sha256", "sha512"), EMPTY.replace("sha256", "md5"),
        EMPTY.replace("sha256", "SHA256"), "sha256:" + "../" * 21 + "a", EMPTY.replace("e", "é", 1),
        EMPTY.replace("0", "٠"), "sha256:" + "a" * 63 + "\0", "sha256:sha256:" + "a" * 57,
    ],
)  # fmt: skip
def test_nothing_else_is_one(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(UsageError) as caught:
        Digest(text)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 100


@given(st.text(), st.text(alphabet="0123456789abcdef:sha", max_size=140))
def test_any_text_is_judged(one: str, other: str) -> None:
    for text in (one, other, one + other):
        assert not is_digest(text)


def test_algorithms_are_the_registered_ones() -> None:
    with pytest.raises(UsageError):
        new_hasher("md5")
    assert Digest.of(b"") == EMPTY
