"""What `image rm` would do, for `--plan` and the workbench: nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobyshell.commands.output import size
from mobyshell.commands.results import Rows
from mobyshell.commands.stored import image_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobyshell.commands.context import Context
    from mobyshell.core.store.gc.graph import Graph, Node


def rm(ctx: Context, *, images: tuple[str, ...]) -> Rows:
    """The names that go, who else has what they lead to, and what the disk has back. NotFound."""
    from mobyshell.core.store.gc.collect import look
    from mobyshell.core.store.gc.graph import IMAGE, Node, lost

    space = ctx.space
    names = [image_name(space, one, only=True) for one in images]
    scope = space.scope
    graph, _ = look(scope.database, scope.clock)
    steps = [(f"forget the name {name}", _others(ctx, name, names)) for name in names]
    gone = lost(graph, [Node(space.name, IMAGE, name) for name in names])
    steps.append((_goes(graph, gone), _why(gone)))
    rows = [{"n": number, "what": what, "why": why} for number, (what, why) in enumerate(steps, 1)]
    return Rows((("n", "", "number"), ("what", "STEP", "text"), ("why", "WHY", "prose")), rows, "n")


def _others(ctx: Context, name: str, going: Sequence[str]) -> str:
    """Who else has the image, and what was made of it."""
    digest = ctx.space.images.get(name).target.digest
    known = [one.name for one in ctx.space.images.list() if one.target.digest == digest]
    others = [one for one in known if one not in going]
    of_it = [one.id for one in ctx.space.containers.list() if one.image == name]
    said = [f"it is still called {_some(others)}" if others else "it has no other name"]
    if of_it:
        said.append(f"made of it: {_some(of_it)}, which keep what they need")
    return "; ".join(said)


def _goes(graph: Graph, gone: Sequence[Node]) -> str:
    from mobyshell.core.store.gc.graph import CONTENT

    if not gone:
        return "remove nothing from the disk"
    blobs = {node.key for node in gone if node.kind == CONTENT}
    trees = [node for node in gone if node.kind.startswith("snapshot/")]
    parts = [_counted(len(blobs), "blob"), _counted(len(trees), "snapshot")]
    elsewhere = {node.key for node in graph.nodes if node.kind == CONTENT and node not in gone}
    freed = {node.key: graph.nodes[node] for node in gone
             if node.kind == CONTENT and node.key not in elsewhere}  # fmt: skip
    return (f"remove {' and '.join(one for one in parts if one)}, "
            f"{size(sum(freed.values()))} of blobs")  # fmt: skip


def _why(gone: Sequence[Node]) -> str:
    if gone:
        return "nothing else needs them: no image, no container, no lease"
    return "something else needs all that it is made of"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s'[: count != 1]}" if count else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
