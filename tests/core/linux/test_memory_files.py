"""Pages of files that are let go: less is mapped, and all goes on as before."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes, json, re, zlib
from mobyshell.core.linux.memory import let_go_of_files
def mapped():
    with open("/proc/self/smaps_rollup") as file:
        return dict(line.split()[:2] for line in file if line.endswith("kB\\n"))
before = mapped()
let_go_of_files()
after = mapped()
assert int(after["Anonymous:"]) >= int(before["Anonymous:"]) - 512, (before, after)
print(int(before["Rss:"]) - int(after["Rss:"]))
import decimal, sqlite3, ssl
for _ in range(3):
    let_go_of_files()
    assert re.sub("a+", lambda one: str(len(one[0])), "baaad") == "b3d"
    assert zlib.decompress(zlib.compress(bytes(100000))) == bytes(100000)
    assert sqlite3.connect(":memory:").execute("select 6 * 7").fetchone() == (42,)
    assert decimal.Decimal("0.1") * 3 == decimal.Decimal("0.3")
print("went on")
"""


def test_what_was_read_is_let_go_and_comes_back() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True,
                           timeout=60, check=True)  # fmt: skip
    less, rest = found.stdout.splitlines()
    assert int(less) > 1024, "kilobytes"
    assert rest == "went on"
