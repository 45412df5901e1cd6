"""A plan to look at: before it runs (operations with their reasons), and after (with times).

`lines` and `explain` are pure; the widget only shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Static, Tree

from mobyshell.commands.output import duration
from mobyshell.core.events import CallDone, Event
from mobyshell.core.runtime.plan import Operation, Plan, show_call
from mobyshell.widgets.folded import Folded


@dataclass(frozen=True, slots=True)
class Timing:
    """What happened to one operation: nanoseconds in its calls, how many ran, refusals by errno."""

    ns: int
    calls: int
    refused: tuple[str, ...]
    failed: bool


def timings(events: Sequence[Event]) -> dict[int, Timing]:
    """Recorded calls, summed by operation. The last call of all failed if it has an errno."""
    found: dict[int, list[CallDone]] = {}
    last: CallDone | None = None
    for event in events:
        one = event.payload
        if isinstance(one, CallDone):
            found.setdefault(one.operation, []).append(one)
            last = one
        elif event.topic == "/runtime/failed" and last is not None:
            break
    broken = any(event.topic == "/runtime/failed" for event in events)
    return {
        index: Timing(
            ns=sum(one.duration_ns for one in calls),
            calls=len(calls),
            refused=tuple(one.errno for one in calls if one.errno),
            failed=broken and last is not None and last.operation == index and bool(last.errno),
        )
        for index, calls in found.items()
    }


def explain(operation: Operation, timing: Timing | None = None) -> str:
    """Everything about one operation, for a person who wants to know why."""
    lines = [operation.title, "", operation.why, ""]
    for name, value in (
        ("asked for by", operation.source), ("spec", operation.spec), ("manual", operation.man),
    ):  # fmt: skip
        if value:
            lines.append(f"{name:>12}  {value}")
    if timing is not None:
        lines.append(f"{'took':>12}  {duration(timing.ns)} in {timing.calls} calls")
        if timing.refused:
            lines.append(f"{'refused':>12}  {', '.join(timing.refused)} (tolerated)"
                         if not timing.failed else f"{'FAILED':>12}  {timing.refused[-1]}")  # fmt: skip
    if operation.calls:
        lines += ["", "System calls:"]
        lines += [f"  {show_call(call)}" for call in operation.calls]
    if operation.shell:
        lines += ["", "The same in a shell:"]
        lines += [f"  {line}" for line in operation.shell]
    return "\n".join(lines)


def label(operation: Operation, timing: Timing | None, changed: bool) -> Text:
    """One line of the tree."""
    text = Text()
    if timing is not None:
        text.append("✗ " if timing.failed else "✓ ", "red" if timing.failed else "green")
        text.append(f"{duration(timing.ns):>7} ", "dim")
    elif changed:
        text.append("◆ ", "yellow")
    text.append(operation.title, "" if operation.actor == "child" else "italic")
    return text


class PlanView(Vertical):
    """The operations by phase, and below them all about the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor(1)", "Down", show=False, id="plan.down"),
        Binding("k", "cursor(-1)", "Up", show=False, id="plan.up"),
        Binding("G", "last", "Last", show=False, id="plan.last"),
    ]

    @dataclass
    class Jumped(Message):
        """Enter on an operation: its place in config.json."""

        source: str

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.plan: Plan | None = None
        self._before: frozenset[str] = frozenset()
        self._timings: Mapping[int, Timing] = {}

    def compose(self) -> ComposeResult:
        tree: Tree[int] = Tree("plan", id="operations")
        tree.show_root = False
        tree.guide_depth = 2
        yield Static("", id="notices", classes="hidden", markup=False)
        yield tree
        with VerticalScroll(id="why-pane"):
            yield Static("", id="why", markup=False)

    def show(self, plan: Plan, events: Sequence[Event] = ()) -> None:
        """Show a plan; with recorded events, what became of it. What is new is marked."""
        self.remove_class("stale")
        self._timings = timings(events)
        titles = frozenset(one.title for one in plan.operations)
        tree = self.query_one("#operations", Tree)
        line = tree.cursor_line
        new = titles - self._before if self._before else frozenset()
        tree.clear()
        branch, phase = tree.root, ""
        for index, one in enumerate(plan.operations):
            name = f"{one.actor} · {one.phase}"
            if name != phase:
                phase = name
                branch = tree.root.add(Text(name, "bold dim"), expand=True)
            branch.add_leaf(label(one, self._timings.get(index), one.title in new), data=index)
        self.plan, self._before = plan, titles
        notices = self.query_one("#notices", Static)
        notices.update("\n".join(f"note: {one}" for one in plan.notices))
        notices.set_class(not plan.notices, "hidden")
        tree.call_after_refresh(self._restore, max(line, 1))

    def _restore(self, line: int) -> None:
        tree = self.query_one("#operations", Tree)
        tree.cursor_line = min(line, max(tree.last_line, 0))

    def mark_stale(self, why: str) -> None:
        """The plan that is shown is an old one."""
        notices = self.query_one("#notices", Static)
        notices.update(f"◌ {why}")
        notices.remove_class("hidden")
        self.add_class("stale")

    def say(self, text: str) -> None:
        """Show a sentence in the place of a plan."""
        self.remove_class("stale")
        self.query_one("#operations", Tree).clear()
        self.query_one("#notices", Static).add_class("hidden")
        self.query_one("#why", Static).update(text)
        self.plan = None

    def focus_source(self, path: str) -> None:
        """Put the cursor on the first operation that `path` of config.json causes."""
        if self.plan is None or not path:
            return
        for node in self.query_one("#operations", Tree).root.children:
            for leaf in node.children:
                if leaf.data is not None and related(self.plan.operations[leaf.data].source, path):
                    self.query_one("#operations", Tree).move_cursor(leaf)
                    return

    def action_cursor(self, step: int) -> None:
        """Vim movement."""
        tree = self.query_one("#operations", Tree)
        if step > 0:
            tree.action_cursor_down()
        else:
            tree.action_cursor_up()

    def action_last(self) -> None:
        """To the last operation."""
        tree = self.query_one("#operations", Tree)
        tree.move_cursor_to_line(max(tree.last_line, 0))

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[int]) -> None:
        """All about this one."""
        event.stop()
        index = event.node.data
        if self.plan is not None and index is not None:
            one = self.plan.operations[index]
            text = explain(one, self._timings.get(index))
            self.query_one("#why", Static).update(Folded(text))
            self.query_one("#why-pane").scroll_home(animate=False)

    def on_tree_node_selected(self, event: Tree.NodeSelected[int]) -> None:
        """To its place in config.json."""
        event.stop()
        if self.plan is not None and event.node.data is not None:
            self.post_message(self.Jumped(self.plan.operations[event.node.data].source))


def related(source: str, path: str) -> bool:
    """Whether an operation asked for by `source` concerns `path` of config.json, or a part of it."""
    if not source:
        return False
    return (
        source == path
        or source.startswith((f"{path}.", f"{path}["))
        or path.startswith((f"{source}.", f"{source}["))
    )
