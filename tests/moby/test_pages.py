"""What docs/build.md and docs/trust.md show is what is read."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from mobyshell.core.trust import keys
from mobyshell.core.trust.policy import Require, read_policy
from mobyshell.moby.build.builder import build
from mobyshell.moby.build.buildfile import parse_buildfile
from mobyshell.moby.build.options import Options
from mobyshell.moby.client import Moby
from tests.undertaker import subreaper

DOCS = Path(__file__).parents[2] / "docs"


def shown(page: str, begins: str) -> str:
    """The indented block that begins so."""
    found = re.search(
        rf"(?m)^    {re.escape(begins)}(?:.*\n|\n(?=    ))+?(?=\n\S)", (DOCS / page).read_text()
    )
    assert found is not None
    return textwrap.dedent(found[0])


@pytest.mark.root
def test_the_build_file_of_the_page_is_built(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("hello")
    stages = parse_buildfile(shown("build.md", "from: scratch"))
    with subreaper(), Moby(tmp_path / "root", tmp_path / "state", "demo") as moby:
        build(moby.tenant, stages, ["box"], Options(context=tmp_path))
        assert moby.run("box", ["ls", "/srv", "/built"]).stdout == b"/built\n\n/srv:\nindex.html\n"


def test_the_policy_of_the_page_is_read(tmp_path: Path) -> None:
    for name in ("example.pub", "release.pub"):
        (tmp_path / name).write_bytes(keys.generate(b"")[1])
    (tmp_path / "trust.toml").write_text(shown("trust.md", 'default = "accept"'))
    policy = read_policy(tmp_path / "trust.toml")
    assert policy.organisations[0].require is Require.SIGNATURE
    assert len(policy.organisations[0].keys) == 2
