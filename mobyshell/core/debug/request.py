"""What is asked at a debug socket, and how an answer looks: one HTTP request, one answer (RFC 9112).

So that `curl --unix-socket` can ask, as it can ask containerd. Owns the limits of a request.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from mobyshell.core.errors import UsageError

LONGEST = 4096
"""Bytes of a request, with its headers."""

PATIENCE = 5.0
"""Seconds that a client has for its request, and for each step of taking the answer."""

AT_ONCE = 4
"""Clients at one socket."""

MAX_SECONDS = 300.0
MAX_HERTZ = 1000
MAX_TOP = 200
FORMS = ("json", "svg", "speedscope", "folded")
CLOCKS = ("cpu", "wall")

_TYPES = {"json": "application/json", "svg": "image/svg+xml", "speedscope": "application/json",
          "folded": "text/plain; charset=utf-8"}  # fmt: skip
_LINE = re.compile(rb"GET /debug/(stacks|heap|flame)(?:\?([!-~]*))? HTTP/1\.[01]\r?\n")


@dataclass(frozen=True, slots=True)
class Request:
    """One question. `what`: stacks, heap or flame; `seconds`: how long to watch; `hertz`: samples a
    second; `clock`: cpu (processor time) or wall; `form`: of FORMS; `top`: rows of each heap table."""

    what: str
    seconds: float = 0.0
    hertz: int = 100
    clock: str = "cpu"
    form: str = "json"
    top: int = 25


def complete(data: bytes) -> bool:
    """Whether `data` is a request with all its headers."""
    return b"\r\n\r\n" in data or b"\n\n" in data


def parse(data: bytes) -> Request:
    """The request that `data` is. UsageError, in one line, for everything else."""
    found = _LINE.match(data)
    if found is None:
        raise UsageError("not a request of this socket",
                         hint="GET /debug/stacks, /debug/heap or /debug/flame")  # fmt: skip
    what = found[1].decode()
    try:
        given = dict(
            parse_qsl((found[2] or b"").decode(), keep_blank_values=True, max_num_fields=10)
        )
    except ValueError:
        raise UsageError("too many parameters") from None
    request = Request(
        what,
        seconds=_number(given.pop("seconds", "5" if what == "flame" else "0"), MAX_SECONDS),
        hertz=int(_number(given.pop("hertz", "100"), MAX_HERTZ)),
        clock=_one_of(given.pop("clock", "cpu"), CLOCKS),
        form=_one_of(given.pop("format", "json"), FORMS if what == "flame" else FORMS[:1]),
        top=int(_number(given.pop("top", "25"), MAX_TOP)),
    )
    if given:
        raise UsageError(f"unknown parameter {min(given)!r:.60}")
    if request.hertz < 1 or (what == "flame" and request.seconds <= 0):
        raise UsageError("hertz and seconds are more than nothing")
    return request


def target(request: Request) -> str:
    """The path and query of `request`."""
    return (f"/debug/{request.what}?seconds={request.seconds:g}&hertz={request.hertz}"
            f"&clock={request.clock}&format={request.form}&top={request.top}")  # fmt: skip


def _number(word: str, largest: float) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", word) or float(word) > largest:
        raise UsageError(f"{word!r:.60} is no number up to {largest:g}")
    return float(word)


def _one_of(word: str, known: tuple[str, ...]) -> str:
    if word not in known:
        raise UsageError(f"{word!r:.60} is none of {', '.join(known)}")
    return word


def answer(body: str, form: str = "json", status: str = "200 OK") -> bytes:
    """The whole answer, for a connection that is closed after it."""
    data = body.encode("utf-8", "backslashreplace")
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {_TYPES[form]}\r\nContent-Length: {len(data)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + data


def document(value: Any) -> str:
    """`value` as JSON, in one line."""
    return json.dumps(value, separators=(",", ":")) + "\n"


def failure(error: Exception) -> bytes:
    """The answer that says what went wrong."""
    if isinstance(error, UsageError):
        status = "400 Bad Request"
    elif isinstance(error, Busy):
        status = "503 Service Unavailable"
    else:
        status = "500 Internal Server Error"
    words = {"error": f"{error}"[:400] or type(error).__name__, "hint": getattr(error, "hint", "")}
    return answer(document(words), status=status)


class Busy(Exception):
    """Somebody else is watching already."""
