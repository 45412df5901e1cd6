"""What users without privileges need of us, where they can reach it."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest


@cache
def python_for(uid: int) -> str:
    """An interpreter that this user may execute: a virtual environment in /root is none."""
    for path in (sys.executable, "/usr/bin/python3"):
        found = subprocess.run(
            [path, "-c", "import sys, ctypes; assert sys.version_info >= (3, 11)"],
            user=uid, group=uid, extra_groups=[], capture_output=True, check=False, cwd="/",
        ) if os.path.exists(path) and _may(uid, "-x", path) else None  # fmt: skip
        if found is not None and found.returncode == 0:
            return path
    pytest.skip("no Python 3.11 that an unprivileged user may execute")


@cache
def package_for_all() -> str:
    """A directory with our package, and what it needs for that, which every user can read: copies
    where they cannot be read in their place, for the clone may lie in /root. It is gone at the end."""
    place = tempfile.mkdtemp(prefix="mobyshell-package-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.chmod(place, 0o755)
    for module in ("mobyshell", "yaml", "pyroute2"):
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).parent
        if _open_to_all(source):
            os.symlink(source, f"{place}/{source.name}")
        else:
            shutil.copytree(source, f"{place}/{source.name}")
    return place


def _open_to_all(top: Path) -> bool:
    """Whether everybody can come to this directory, and read all sources in it."""
    top = top.resolve()
    needed = [(above, 0o001) for above in top.parents] + [(top, 0o005)]
    for at, directories, files in os.walk(top):
        directories[:] = [name for name in directories if name != "__pycache__"]
        needed += [(Path(at, name), 0o005) for name in directories]
        needed += [(Path(at, name), 0o004) for name in files]
    return all(path.stat().st_mode & bits == bits for path, bits in needed)


def _may(uid: int, what: str, path: str) -> bool:
    """Whether `uid` can: by asking as that user."""
    return subprocess.run(
        ["/bin/busybox", "test", what, path], user=uid, group=uid, extra_groups=[], cwd="/", check=False
    ).returncode == 0  # fmt: skip
