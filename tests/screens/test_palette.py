"""What the command palette offers can be done, or is a line to finish."""

from __future__ import annotations

import shlex

import pytest
from textual.app import SystemCommand
from textual.widgets import Input

from mobyshell.commands.registry import NOUNS
from mobyshell.screens.app import MobyshellApp
from mobyshell.screens.request import request
from tests.screens.conftest import Open


def offered(app: MobyshellApp) -> dict[str, SystemCommand]:
    return {
        one.title: one
        for one in app.get_system_commands(app.screen)
        if one.title.split()[0] in NOUNS
    }


@pytest.mark.parametrize(
    ("place", "lines"),
    [
        ("tasks", ["task update paused --…", "task exec paused …", "task policy paused …",
                   "container start …", "container update --restart …", "image build -t …"]),
        ("images", ["image export docker.io/library/box:latest -o …",
                    "image sign docker.io/library/box:latest --key …",
                    "image tag docker.io/library/box:latest …", "image cat"]),
        ("namespaces", ["namespace label default …"]),
    ],
)  # fmt: skip
async def test_what_wants_more_is_asked_for_it(opened: Open, place: str, lines: list[str]) -> None:
    async with opened(place) as pilot:
        app = pilot.app
        assert isinstance(app, MobyshellApp)
        found = offered(app)
        for line in lines:
            assert any(title.startswith(line) for title in found), (line, list(found))
        for title in found:
            if not title.endswith("…"):
                request(shlex.split(title))
        first = next(title for title in found if title.startswith(lines[0]))
        found[first].callback()
        await pilot.pause()
        assert app.screen.query_one("#line", Input).value == lines[0].removesuffix("…")
