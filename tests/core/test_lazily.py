"""Modules that come when they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from mobyshell.core.lazily import lazily
import colorsys
lazily("colorsys", "this_is_none", "ipaddress", "plistlib")
assert "ipaddress" in sys.modules and not hasattr(sys.modules["ipaddress"], "__file__")
import ipaddress, plistlib, urllib.parse
assert not hasattr(ipaddress, "__file__")
assert colorsys.__file__ and sys.modules["colorsys"] is colorsys
assert str(ipaddress.ip_address("127.0.0.1")) == "127.0.0.1"
assert sys.modules["ipaddress"] is not ipaddress and ipaddress.__file__
from ipaddress import IPv4Address
assert IPv4Address is ipaddress.IPv4Address
from plistlib import dumps
assert dumps({})
import this_is_none
try:
    this_is_none.anything
except ModuleNotFoundError as error:
    print(error)
"""


def test_a_module_comes_with_its_first_use() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("No module named 'this_is_none'\n", "")


FORMS = """
from mobyshell.core.lazily import _Later, without_forms
without_forms()
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar
assert not TYPE_CHECKING
T = TypeVar("T", bound=int)
Table: TypeAlias = dict[str, Callable[[Any, T], T | None]]
class Seam(Protocol):
    def call(self) -> Any: ...
class Box(Generic[T]):
    __slots__ = ("one",)
    kind: ClassVar[str] = "box"
class Both(Seam, Box[int]):
    def __init__(self, one: int) -> None:
        self.one = one
    def call(self) -> Any:
        return self.one
assert Both(3).call() == 3
assert isinstance(sys.modules["typing"], _Later)
from typing import get_type_hints
assert get_type_hints(lambda: 0) == {}
assert not isinstance(sys.modules["typing"], _Later)
import typing
assert typing.Any is not Any and typing.Protocol is not Protocol
"""


def test_what_only_checkers_need_is_not_loaded() -> None:
    package = str(Path(__file__).parents[2])
    begin = f"from __future__ import annotations; import sys; sys.path.append({package!r})"
    subprocess.run([sys.executable, "-I", "-S", "-c", begin + FORMS], timeout=60, check=True)
