"""Where a stranger's word may lead: never out of TLS, never to what is no server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import RegistryFailed
from mobyshell.core.registry.challenge import parse_challenges
from mobyshell.core.registry.locations import Location, is_local, next_location
from mobyshell.core.registry.patience import pause_of
from mobyshell.core.registry.session import next_link

HOME = Location("https", "a.com:5000", "/v2/x/blobs/uploads/?a=b")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("/v2/y?state=s", "https://a.com:5000/v2/y?state=s"),
        ("next?x", "https://a.com:5000/v2/x/blobs/uploads/next?x"),
        ("https://a.com:5000/y", "https://a.com:5000/y"), ("https://b.com", "https://b.com/"),
        ("https://b.com:443/y", "https://b.com/y"), ("//b.com/y", "https://b.com/y"),
        ("https://[::1]:9/y", "https://[::1]:9/y"), ("HTTPS://B.com/Y", "https://b.com/Y"),
        ("/a/../../../b", "https://a.com:5000/b"), ("?x=1", "https://a.com:5000/v2/x/blobs/uploads/?x=1"),
        ("https://b.com/y#part", "https://b.com/y"),
    ],
)  # fmt: skip
def test_where_it_leads(word: str, found: str) -> None:
    assert str(next_location(HOME, word, "redirect")) == found


@pytest.mark.parametrize(
    "word",
    ["", "http://a.com:5000/y", "http://b.com", "https://", "https:///y", "https:y", "//", "///y",
     "ftp://b.com", "javascript:x", "file:///etc/passwd", "data:,x", "https://u@b.com", "https://u:p@b.com",
     "https://@b.com", "https://b.com\\@c.com", "https://b.com:99999", "https://b.com:x", "https://[::1",
     "https://b.com/\r\nX: y", "https://b.com/\u00e9", "https://b.com/\0", "x" * 20_000,
     "https://b%2ecom/", "https://b.com%00/", "https://b c/", "https://*/", "https://b.com;c/"],
)  # fmt: skip
def test_where_nothing_may_lead(word: str) -> None:
    with pytest.raises(RegistryFailed) as caught:
        next_location(HOME, word, "redirect")
    assert caught.value.host == "a.com:5000"
    assert "u:p" not in caught.value.message


def test_a_realm_names_a_host() -> None:
    with pytest.raises(RegistryFailed, match="without a host"):
        next_location(HOME, "/token", "token realm", absolute=True)
    plain = Location("http", "a.com", "/")
    assert next_location(plain, "https://b.com/t", "token realm", absolute=True).scheme == "https"


def test_what_is_shown_is_short_and_has_no_query() -> None:
    found = next_location(HOME, "https://b.com/" + "y" * 10_000 + "?signature=s3cret", "redirect")
    assert "s3cret" not in found.shown
    assert len(found.shown) <= 300


@given(
    st.text(max_size=60) | st.text("htps:/@[]\\.%#?&;:0b ", max_size=30)
    | st.from_regex(r"\A(https?:)?//[ -~]{0,20}\Z")
)  # fmt: skip
def test_any_word_leads_to_a_server_or_nowhere(word: str) -> None:
    try:
        found = next_location(HOME, word, "redirect")
    except RegistryFailed as error:
        assert error.message.isprintable()
    else:
        assert found.scheme == "https"
        assert str(found).isascii()
        assert str(found).isprintable()
        assert " " not in str(found)
        assert "@" not in found.host
        assert next_location(found, str(found), "redirect") == found


@given(st.lists(st.text(max_size=60) | st.text('Bearer realm="x",\\= ', max_size=60), max_size=3))
def test_any_header_is_read(values: list[str]) -> None:
    for one in parse_challenges(values):
        assert one.scheme == one.scheme.lower()
    for value in values:
        next_link(value)
        pause = pause_of(value)
        assert pause is None or pause >= 0


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("0", 0, 0), ("120", 120, 120), ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 1e9, 1e12)],
)  # fmt: skip
def test_how_long_one_is_to_wait(value: str, low: float, high: float) -> None:
    pause = pause_of(value)
    assert pause is not None
    assert low <= pause <= high


@pytest.mark.parametrize("value", ["", "-1", "1.5", "soon", "1" * 20, "x" * 5000])
def test_what_says_nothing_about_waiting(value: str) -> None:
    assert pause_of(value) is None


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True),
     ("LOCALHOST", True), ("localhost.com", False), ("127.0.0.1.com", False), ("127.1", False), ("", False)],
)  # fmt: skip
def test_this_machine(host: str, local: bool) -> None:
    assert is_local(host) == local
