"""Makes docs/workbench.svg: the program itself, headless, on a bundle of its own.

python docs/picture.py
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from textual.widgets import Tree

from mobyshell.commands.context import Context
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.screens.app import MobyshellApp
from mobyshell.widgets.plan_view import PlanView

PLACE = Path(__file__).parent / "workbench.svg"


async def picture(directory: str) -> str:
    """The workbench with the cursor on pivot_root."""
    app = MobyshellApp(Context(state=f"{directory}/state"))
    async with app.run_test(size=(132, 38)) as pilot:
        await pilot.pause(1.0)
        await pilot.press("p")
        to_pivot_root(app.screen.query_one(PlanView))
        await pilot.pause(0.5)
        return app.export_screenshot(title="mobyshell")


def to_pivot_root(view: PlanView) -> None:
    """Put the cursor on the moment when the bundle becomes the whole world."""
    assert view.plan is not None
    tree: Tree[int] = view.query_one("#operations", Tree)
    for branch in tree.root.children:
        for leaf in branch.children:
            if leaf.data is not None and view.plan.operations[leaf.data].man == "pivot_root(2)":
                tree.move_cursor(leaf)


def main() -> None:
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_CONFIG_HOME"] = f"{directory}/config"
        os.makedirs(f"{directory}/bundles")
        for name in ("first", "web", "worker"):
            new_bundle(f"{directory}/bundles/{name}")
        os.chdir(f"{directory}/bundles")
        PLACE.write_text(asyncio.run(picture(directory)))


if __name__ == "__main__":
    main()
