"""Modules that come when they are used."""

from __future__ import annotations

import subprocess
import sys

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
