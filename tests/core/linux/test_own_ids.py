"""Who this process is to those outside of its user namespace."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os
from mobyshell.core.linux import own_ids
print(own_ids.in_user_namespace(), own_ids.outside(os.geteuid()), own_ids.may_set_groups())
"""


@pytest.mark.root
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "False 0 True"),
        (["unshare", "--user", "--map-root-user"], "True 0 False"),
        (["unshare", "--user", "--map-user=1000"], "True 0 True"),
        (["setpriv", "--reuid=61237", "unshare", "--user", "--map-root-user"], "True 61237 False"),
    ],
)
def test_in_and_out_of_user_namespaces(words: list[str], said: str) -> None:
    done = subprocess.run(
        [*words, sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == said
