"""Every image of recipes/images is built of this machine's programs, and does what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.moby import look
from mobyshell.moby.build.builder import build
from mobyshell.moby.build.buildfile import parse_buildfile
from mobyshell.moby.build.options import Options
from mobyshell.moby.client import Moby
from tests.undertaker import subreaper

pytestmark = pytest.mark.root

RECIPES = Path(__file__).parents[1] / "recipes" / "images"


@pytest.fixture(scope="module")
def moby(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moby]:
    place = tmp_path_factory.mktemp("images")
    with subreaper(), Moby(place / "root", place / "state", "demo") as client:
        for line in re.findall(
            r"-t (\S+) recipes/images/(\S+)", (RECIPES / "README.md").read_text()
        ):
            stages = parse_buildfile((RECIPES / line[1]).read_text())
            build(client.tenant, stages, [line[0]], Options())
        yield client


def said(moby: Moby, image: str, *args: str) -> str:
    done = moby.run(image, args)
    assert done.status == 0, done.stderr
    return done.stdout.decode()


def test_the_readme_names_every_recipe(moby: Moby) -> None:
    assert {path.stem for path in RECIPES.glob("*.yml")} == {
        one.name.rpartition("/")[2].partition(":")[0] for one in moby.images()
    }  # fmt: skip


def test_busybox(moby: Moby) -> None:
    script = (
        "id -un; stat -c %a /tmp /root; for name in /bin/*; do [ -x $name ] || echo $name; done"
    )
    assert said(moby, "busybox", "sh", "-c", script).split() == ["root", "1777", "700"]


def test_web(moby: Moby) -> None:
    config = moby.image("web").config.config
    assert config is not None
    assert config.exposed_ports == frozenset({"8080/tcp"})
    script = "id -un; httpd -p 8080 -h /srv && wget -qO- http://127.0.0.1:8080/"
    assert "It runs." in said(moby, "web", "sh", "-c", script)


def test_layers(moby: Moby) -> None:
    assert said(moby, "layers") == "one\ntwo\n"
    assert [(one.path, one.bytes) for one in look.wasted(moby.image("layers"))] == [
        ("/big", 1_000_000), ("/kept", 4),
    ]  # fmt: skip


def test_host(moby: Moby) -> None:
    script = (
        "seq() { for ((i = 0; i < 3; i++)); do echo $i; done; }; seq | sort -r | head -n 1; ls /"
    )
    assert said(moby, "host", "bash", "-c", script).split()[0] == "2"
