"""A tree of files whose directories are read when they are opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from mobyshell.widgets.sentence import StandIn
from mobyshell.widgets.tree_keys import TreeKeys, tree_bindings

T = TypeVar("T")
EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Leaf(Generic[T]):
    """A path in the tree: what it is, how it is shown, and whether it can be opened."""

    path: str
    label: Text
    opens: bool
    value: T


class LayerTree(TreeKeys, Generic[T]):
    """Shows leaves; asks by `Wanted` for those of a directory."""

    BINDINGS: ClassVar[list[BindingType]] = [*tree_bindings("tree")]

    @dataclass
    class Wanted(Message):
        """A directory was opened that was not read yet."""

        path: str

    @dataclass
    class Picked(Message):
        """Enter on a path that cannot be opened."""

        value: Any

    def __init__(self, leaf: Callable[[T], Leaf[T]], **more: Any) -> None:
        super().__init__(**more)
        self._leaf = leaf
        self._by_path: dict[str, TreeNode[Leaf[T]]] = {}

    def compose(self) -> ComposeResult:
        tree: Tree[Leaf[T]] = Tree("/", id="files")
        tree.show_root = False
        tree.guide_depth = 2
        yield tree
        yield StandIn()

    def say(self, sentence: str) -> None:
        """No tree, and why."""
        self.tree_view.clear()
        self._by_path = {}
        self._sentence(sentence)

    @property
    def opened(self) -> list[str]:
        """The directories that are open, above before below."""
        return [path for path, node in self._by_path.items() if node.is_expanded]

    def show(self, values: Sequence[T], below: Mapping[str, Sequence[T]] = EMPTY) -> None:
        """Another tree: what its root holds, and what the directories that are open in it. The cursor
        stays on the path it is on, if that is there and anything is open."""
        tree = self.tree_view
        one = tree.cursor_node.data if tree.cursor_node is not None and below else None
        top = tree.scroll_y if below else 0.0
        self.say("" if values else "It is empty.")
        self._add(tree.root, values)
        for path, rows in below.items():
            node = self._by_path.get(path)
            if node is not None:
                self._add(node, rows)
                node.expand()
        if values:
            tree.call_after_refresh(self._go, one.path if one is not None else "", top)

    def _go(self, path: str, top: float) -> None:
        tree, node = self.tree_view, self._by_path.get(path)
        tree.scroll_to(y=top, animate=False)
        if node is not None:
            tree.move_cursor(node)
        else:
            tree.move_cursor_to_line(0)

    def show_found(self, values: Sequence[T], leaf: Callable[[T], Leaf[T]], more: str) -> None:
        """Paths from anywhere in the tree, one below the other, as `leaf` has them; `more`: what is
        said below them."""
        self.say("")
        for value in values:
            one = leaf(value)
            self._by_path[one.path] = self.tree_view.root.add(
                one.label, data=one, allow_expand=one.opens
            )
        if more:
            self.tree_view.root.add(Text(more, "dim"), allow_expand=False)
        self.tree_view.call_after_refresh(self.tree_view.move_cursor_to_line, 0)

    def fill(self, path: str, values: Sequence[T]) -> None:
        """What the directory at `path` holds."""
        node = self._by_path.get(path)
        if node is not None:
            node.remove_children()
            self._add(node, values)

    def _add(self, node: TreeNode[Leaf[T]], values: Sequence[T]) -> None:
        for value in values:
            one = self._leaf(value)
            self._by_path[one.path] = node.add(one.label, data=one, allow_expand=one.opens)

    def _sentence(self, text: str) -> None:
        self.query_one(StandIn).instead_of(self.tree_view, text)

    def on_tree_node_expanded(self, event: Tree.NodeExpanded[Leaf[T]]) -> None:
        """What is in it?"""
        event.stop()
        one = event.node.data
        if one is not None and not event.node.children:
            self.post_message(self.Wanted(one.path))

    def on_tree_node_selected(self, event: Tree.NodeSelected[Leaf[T]]) -> None:
        """Look at it."""
        event.stop()
        one = event.node.data
        if one is not None and not one.opens:
            self.post_message(self.Picked(one.value))
