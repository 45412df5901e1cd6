"""`store`: everything that is kept, as a whole: garbage, reasons, soundness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import DESTROY, READ, TEXT, WRITE, argument, switch, verb
from mobyshell.commands.results import Rows
from mobyshell.commands.stored import FOREIGN, say_freed

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.store.check import Finding
    from mobyshell.core.store.gc.graph import Node

N = "store"


@verb(
    N, "gc",
    switch("-n --dry-run", "remove nothing: list what would go"),
    switch("--why", "list what stays, too, each with the way from what keeps it"),
    effect=DESTROY, example="store gc --dry-run --why",
)  # fmt: skip
def gc(ctx: Context, *, dry_run: bool, why: bool) -> Rows:
    """Remove what nothing needs, of all namespaces, and say what that was.

    Images, containers and leases are kept, what has the label containerd.io/gc.root, and all that
    these refer to.
    """
    kept = _kept(ctx) if why else []
    done = ctx.store.collect(dry_run=dry_run)
    rows = [_row(one.node, one.size, kept=False, why="nothing needs it") for one in done.removed]
    columns = [("kept", "", "check"), ("namespace", "NAMESPACE", "text"), ("kind", "KIND", "text"),
               ("key", "WHAT", "id"), ("size", "SIZE", "bytes"), ("why", "WHY", "prose")]  # fmt: skip
    said = say_freed(done.freed, len(done.removed)) or "there is no garbage"
    if done.foreign:
        said = FOREIGN
    if dry_run and done.removed:
        said = said.replace("collected", "would collect")
    return Rows(columns if why else columns[1:5], rows + kept, "key", said)


def _row(node: Node, size: int, *, kept: bool, why: str) -> dict[str, Any]:
    return {"kept": kept, "namespace": node.namespace, "kind": node.kind, "key": node.key,
            "size": size or None, "why": why}  # fmt: skip


def _kept(ctx: Context) -> list[dict[str, Any]]:
    from mobyshell.core.store.gc.collect import look
    from mobyshell.core.store.gc.graph import tell

    graph, marks = look(ctx.store.database, ctx.clock)
    return [
        _row(node, graph.nodes[node], kept=True, why=tell(marks.why(node)))
        for node in marks.reached
    ]


@verb(
    N, "why",
    argument("what", TEXT, "a digest, an image, a container, a snapshot's key"),
    effect=READ, example="store why web",
)  # fmt: skip
def why(ctx: Context, *, what: str) -> Rows:
    """Say why something is kept: the way to it from what garbage collection begins with."""
    from mobyshell.core.errors import NotFound
    from mobyshell.core.oci.safejson import show
    from mobyshell.core.store.gc.collect import look
    from mobyshell.core.store.gc.graph import tell

    graph, marks = look(ctx.store.database, ctx.clock)
    names = {what, _full(what)}
    nodes = [node for node in graph.nodes
             if node.namespace == ctx.namespace and (node.key in names or _begins(node, what))]  # fmt: skip
    if not nodes:
        raise NotFound(f"nothing is called {show(what)} in namespace {ctx.namespace}")
    rows = []
    for node in nodes:
        steps = marks.why(node)
        said = tell(steps) if steps else "nothing needs it: the next collection removes it"
        rows.append(_row(node, graph.nodes[node], kept=bool(steps), why=said))
    columns = (("kept", "", "check"), ("kind", "KIND", "text"), ("key", "WHAT", "id"),
               ("why", "WHY", "prose"))  # fmt: skip
    return Rows(columns, rows, "key")


def _full(what: str) -> str:
    from mobyshell.core.errors import UsageError
    from mobyshell.core.oci.reference import parse_reference

    try:
        return str(parse_reference(what))
    except UsageError:
        return what


def _begins(node: Node, what: str) -> bool:
    digits = what.rpartition(":")[2]
    return (
        node.kind == "content"
        and len(digits) >= 4
        and node.key.partition(":")[2].startswith(digits)
    )


def plan_of_check(ctx: Context, *, repair: bool, quick: bool = False, **_: object) -> Rows:
    """What a repair would do; nothing is changed."""
    from pathlib import Path

    from mobyshell.core.store.check import check_root

    found = check_root(Path(ctx.root), hash_blobs=not quick, unpack=not quick)
    columns = (("kind", "KIND", "text"), ("subject", "WHAT", "id"), ("problem", "PROBLEM", "prose"),
               ("does", "A REPAIR", "text"))  # fmt: skip
    rows = [{"kind": one.kind, "subject": one.subject, "problem": one.problem,
             "does": one.remedy if one.mendable else f"nothing: {one.remedy}"} for one in found]  # fmt: skip
    return Rows(columns, rows, "subject", "" if found else f"{ctx.root} is sound")


@verb(
    N, "check",
    switch("--repair", "mend what can be mended; at a terminal what that is is shown first"),
    switch("--quick", "compare the sizes of blobs only: read none, unpack none"),
    effect=WRITE, example="store check", plan=plan_of_check,
)  # fmt: skip
def check(ctx: Context, *, repair: bool, quick: bool) -> Rows:
    """Look whether everything is what it should be; fails if something is not, and is not mended.

    Blobs are read, and layers unpacked once more and compared with what containers see of them. A
    repair takes away what is broken and what cannot be without it, and nothing else.
    """
    return checked(ctx, repair=repair, quick=quick)


def checked(ctx: Context, *, repair: bool, quick: bool = False) -> Rows:
    """The findings as rows, for `store check` and `doctor --store`."""
    from pathlib import Path

    from mobyshell.commands.content import Damaged
    from mobyshell.core.store.check import check_root

    if repair:
        _agree(ctx, quick)
    found = check_root(Path(ctx.root), repair=repair, hash_blobs=not quick, unpack=not quick)
    rows = [_finding(one) for one in found]
    columns = (("repaired", "", "check"), ("kind", "KIND", "text"), ("subject", "WHAT", "id"),
               ("problem", "PROBLEM", "prose"), ("remedy", "REMEDY", "prose"))  # fmt: skip
    left = [one for one in found if not one.repaired]
    if left:
        problems = f"{len(left)} problem{'s'[: len(left) != 1]}"
        hint = "what stands under REMEDY is for you to do"
        if any(one.mendable for one in left):
            hint = "mobyshell store check --repair (--plan says what that would do)"
        raise Damaged(f"{ctx.root} has {problems}", Rows(columns, rows, "subject"), hint)
    return Rows(columns, rows, "subject", "mended" if found else f"{ctx.root} is sound")


def plan_of_adopt(ctx: Context, *, remove: bool) -> Rows:
    """The files that are a lost database's; nothing is changed."""
    from mobyshell.core.store import identity
    from mobyshell.core.store.adopt import strays

    store = ctx.store
    if identity.owns(store.root, store.database):
        return Rows(_ADOPTED, [], "name", "the files of this store are its database's")
    left = strays(store)
    rows = [{"kind": "content", "name": one, "size": size} for one, size in left.blobs.items()]
    rows += [{"kind": "tree", "name": f"{name}/{number}"} for name, number in left.trees]
    said = f"would {'remove' if remove else 'keep'} {left}"
    return Rows(_ADOPTED, rows, "name", said)


_ADOPTED = (("kind", "KIND", "text"), ("name", "WHAT", "id"), ("size", "SIZE", "bytes"),
            ("problem", "PROBLEM", "prose"))  # fmt: skip


@verb(
    N, "adopt",
    switch("--remove", "remove them instead"),
    effect=DESTROY, example="--plan store adopt", plan=plan_of_adopt,
)  # fmt: skip
def adopt(ctx: Context, *, remove: bool) -> Rows:
    """Keep the files of a store whose database was lost, or remove them.

    No collection removes them. Images get names localhost/recovered:DIGITS, trees become snapshots
    recovered-NUMBER, in this namespace; they are kept until they are removed by name.
    """
    from mobyshell.commands.stored import collect
    from mobyshell.core.store import adopt as files

    if remove:
        files.disown(ctx.store)
        return Rows(_ADOPTED, [], "name", collect(ctx) or "there is no garbage")
    done = files.adopt(ctx.store, ctx.namespace)
    rows = [{"kind": one.kind, "name": one.name, "size": one.size or None, "problem": one.problem}
            for one in done]  # fmt: skip
    return Rows(_ADOPTED, rows, "name", f"{len(rows)} in namespace {ctx.namespace}")


def _agree(ctx: Context, quick: bool) -> None:
    """At a terminal: what a repair would do, and the question. Refused."""
    if ctx.yes or not ctx.interactive:
        return
    import sys

    from mobyshell.commands.output import clean
    from mobyshell.core.errors import Refused

    rows = [one for one in plan_of_check(ctx, repair=True, quick=quick).rows
            if not str(one["does"]).startswith("nothing: ")]  # fmt: skip
    if not rows:
        return
    for one in rows:
        print(clean(f"{one['kind']} {one['subject']}: {one['problem']}: {one['does']}"),
              file=sys.stderr)  # fmt: skip
    print("mend this? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("nothing was changed", hint="answer y, or give --yes")


def _finding(one: Finding) -> dict[str, Any]:
    return {"repaired": one.repaired, "kind": one.kind, "subject": one.subject,
            "problem": one.problem, "remedy": one.remedy}  # fmt: skip
