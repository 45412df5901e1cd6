"""References: Docker's grammar, the short forms, and what is no reference at all."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.reference import Reference, is_repository, is_tag, parse_reference

D = "sha256:" + "f" * 64
D512 = "sha512:" + "f" * 128


@pytest.mark.parametrize(
    ("text", "domain", "path", "tag", "digest"),
    [
        ("busybox", "docker.io", "library/busybox", "latest", None),
        ("busybox:1.36", "docker.io", "library/busybox", "1.36", None),
        ("library/busybox", "docker.io", "library/busybox", "latest", None),
        ("docker.io/busybox", "docker.io", "library/busybox", "latest", None),
        ("index.docker.io/busybox", "docker.io", "library/busybox", "latest", None),
        ("docker.io/library/busybox:x", "docker.io", "library/busybox", "x", None),
        ("someone/thing", "docker.io", "someone/thing", "latest", None),
        ("localhost/thing", "localhost", "thing", "latest", None),
        ("localhost:5000/thing:a", "localhost:5000", "thing", "a", None),
        ("test.com:tag", "docker.io", "library/test.com", "tag", None),
        ("test.com:5000", "docker.io", "library/test.com", "5000", None),
        ("test.com/repo:tag", "test.com", "repo", "tag", None),
        ("test:5000/repo", "test:5000", "repo", "latest", None),
        (f"test:5000/repo@{D}", "test:5000", "repo", None, D),
        (f"test:5000/repo:tag@{D}", "test:5000", "repo", "tag", D),
        (f"busybox@{D512}", "docker.io", "library/busybox", None, D512),
        ("lowercase:Uppercase", "docker.io", "library/lowercase", "Uppercase", None),
        ("sub-dom1.foo.com/bar/baz/quux", "sub-dom1.foo.com", "bar/baz/quux", "latest", None),
        (
            "b.gcr.io/test.example.com/my-app:a.b",
            "b.gcr.io",
            "test.example.com/my-app",
            "a.b",
            None,
        ),
        ("xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com", None),
        ("foo/foo_bar.com:8080", "docker.io", "foo/foo_bar.com", "8080", None),
        ("192.168.1.1:5000/repo:5050", "192.168.1.1:5000", "repo", "5050", None),
        ("[2001:db8::1]/repo", "[2001:db8::1]", "repo", "latest", None),
        ("[::1]:5000/repo:tag", "[::1]:5000", "repo", "tag", None),
        ("a/b__c/d---e.f_g", "docker.io", "a/b__c/d---e.f_g", "latest", None),
        ("example.com/" + "a" * 255 + ":tag", "example.com", "a" * 255, "tag", None),
    ],
)
def test_names(text: str, domain: str, path: str, tag: str | None, digest: str | None) -> None:
    found = parse_reference(text)
    assert (found.domain, found.path, found.tag, found.digest) == (domain, path, tag, digest)
    assert parse_reference(str(found)) == found
    assert parse_reference(found.familiar) == found
    assert found.target == (digest or tag)
    assert found.name == f"{domain}/{path}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"), (":justtag", "repository's name"), (f"@{D}", "repository's name"),
        ("repo@sha256:ffff", "not a digest"), ("repo@md5:" + "f" * 32, "not a digest"),
        (f"repo@{D}@{D}", "not a digest"), ("repo@", "not a digest"), ("repo:", "not a tag"),
        ("Uppercase:tag", "lower case"), ("test:5000/Uppercase/lowercase:tag", "lower case"),
        ("domain.com/" + "a" * 256, "longer than 255"), ("a" * 5000, "too long"),
        ("aa/asdf$$^/aa", "repository's name"), ("a//b", "repository's name"),
        ("/a", "repository's name"), ("a/", "repository's name"), ("a/../b", "repository's name"),
        ("a/./b", "repository's name"), ("a/b:c/d", "not a tag"), ("a___b", "repository's name"),
        ("a..b/c", "address"), ("-a.com/b", "address"), ("a-.com/b", "address"),
        ("a.com:/b", "address"), ("a.com:66000/b", "address"), ("a.com:80:80/b", "address"),
        ("a.com:٣/b", "address"), ("user@a.com/b", "not a digest"), ("http://a.com/b", "address"),
        ("[2001:db8::1]", "repository's name"), ("[fe80::1%eth0]:5000/repo", "address"),
        ("[::1/repo", "address"), ("a b", "repository's name"), ("a\nb", "repository's name"),
        ("busybox\n", "repository's name"), ("busybox:latest\n", "not a tag"), ("a\0b", "name"),
        ("é", "repository's name"), ("a:é", "not a tag"), ("a:" + "t" * 129, "not a tag"),
        ("a:.t", "not a tag"), ("f" * 64, "image's id"), ("\ud800", "repository's name"),
        ("a.com%2f/b", "address"), ("a.com?x/b", "address"), ("a.com\\/b", "address"),
    ],
)  # fmt: skip
def test_what_is_none(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert why in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 250


@pytest.mark.parametrize(
    ("full", "short"),
    [
        ("docker.io/library/busybox:latest", "busybox"),
        ("docker.io/library/busybox:1", "busybox:1"),
        ("docker.io/a/b:latest", "a/b"),
        ("quay.io/a/b:latest", "quay.io/a/b"),
        (f"docker.io/library/busybox@{D}", f"busybox@{D}"),
        ("docker.io/library/" + "f" * 64 + ":latest", "docker.io/library/" + "f" * 64 + ":latest"),
        ("docker.io/localhost/b:latest", "docker.io/localhost/b:latest"),
        ("docker.io/library/a/b:latest", "library/a/b"),
    ],
)
def test_the_familiar_form(full: str, short: str) -> None:
    assert parse_reference(full).familiar == short


COMPONENTS = st.from_regex(r"\A[a-z0-9]{1,8}((\.|__?|-{1,3})[a-z0-9]{1,6}){0,3}\Z")
TAGS = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z")
DOMAINS = st.one_of(
    st.just("docker.io"), st.just("localhost"), st.just("[::1]:80"),
    st.from_regex(r"\A[a-z0-9]{1,8}\.[A-Z0-9]{1,8}(:[1-9][0-9]{0,3})?\Z"),
)  # fmt: skip


@given(DOMAINS, st.lists(COMPONENTS, min_size=2, max_size=5), TAGS | st.none(), st.booleans())
def test_every_reference_reads_back(
    domain: str, parts: list[str], tag: str | None, pinned: bool
) -> None:
    digest = Digest(D) if pinned or tag is None else None
    one = Reference(domain, "/".join(parts), tag, digest)
    assert parse_reference(str(one)) == one
    assert parse_reference(one.familiar) == one
    assert is_repository(one.path)


@given(st.text(max_size=80) | st.text(alphabet="aA0.:/@-_[]lo\n", max_size=60))
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    try:
        found = parse_reference(text)
    except UsageError as error:
        assert error.message.isprintable()
    else:
        assert parse_reference(str(found)) == found
        assert parse_reference(found.familiar) == found


def test_no_text_takes_long() -> None:
    hostile = ["a" * 800, "a-" * 400, "a." * 400 + "!", "-" * 800, "a/" * 400, ":" * 800, "a__" * 260,
               "a" * 255 + "!", "x.y/" + "a-" * 127 + "!"]  # fmt: skip
    start = time.process_time()
    for text in hostile * 10:
        try:
            parse_reference(text)
        except UsageError:
            pass
    assert time.process_time() - start < 5  # milliseconds, where nothing backtracks


def test_another_tag() -> None:
    one = parse_reference("busybox")
    assert str(one.with_tag("1")) == "docker.io/library/busybox:1"
    with pytest.raises(UsageError):
        one.with_tag("a/b")
    assert is_tag("a")
    assert not is_tag("a/b")
    assert not is_repository("")
