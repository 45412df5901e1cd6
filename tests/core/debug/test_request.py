"""What is asked at a debug socket: few words, with limits."""

from __future__ import annotations

import pytest

from mobyshell.core.debug.request import Busy, Request, answer, complete, failure, parse, target
from mobyshell.core.errors import UsageError


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_what_a_client_writes_is_what_is_read() -> None:
    for request in (
        Request("stacks"),
        Request("heap", seconds=2.5, top=7),
        Request("flame", seconds=3, hertz=250, clock="wall", form="speedscope"),
    ):
        assert parse(get(target(request))) == request
    assert parse(get("/debug/flame")) == Request("flame", seconds=5)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 100, b"POST /debug/stacks HTTP/1.1\r\n\r\n", get("/debug/pprof"), get("/"),
        get("/debug/stacks/../heap"), get("/debug/flame?seconds=0"), get("/debug/flame?hertz=0"),
        get("/debug/flame?seconds=1e9"), get("/debug/flame?seconds=-1"), get("/debug/flame?hertz=9999"),
        get("/debug/flame?seconds=301"), get("/debug/flame?format=exe"), get("/debug/heap?format=svg"),
        get("/debug/heap?clock=x"), get("/debug/stacks?what=this"), get("/debug/heap?top=nan"),
        get("/debug/flame?" + "&".join(f"a{n}=1" for n in range(11))),
    ],
)  # fmt: skip
def test_everything_else_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        parse(data)
    assert "\n" not in str(caught.value)


def test_a_request_is_complete_with_its_headers() -> None:
    assert complete(get("/debug/stacks"))
    assert not complete(get("/debug/stacks")[:-2])


def test_answers_say_their_length_and_failures_their_kind() -> None:
    head, _, body = answer("ä\udcff").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert failure(UsageError("no")).startswith(b"HTTP/1.1 400 ")
    assert failure(Busy("somebody")).startswith(b"HTTP/1.1 503 ")
    assert failure(OSError("odd")).startswith(b"HTTP/1.1 500 ")
