"""A tree of files whose directories are read when they are opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

    def show(self, values: Sequence[T]) -> None:
        """Another tree: what its root holds."""
        self.say("" if values else "It is empty.")
        self._add(self.tree_view.root, values)
        if values:
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
