"""YAML that people write, read as plain values: bounded, no key twice, no aliases.

Owns the reading of text, as `safejson` does. Never raises anything but InvalidSpec.
"""

from __future__ import annotations

from typing import Any

import yaml

from mobyshell.core.errors import InvalidSpec

LARGEST = 1 << 20
"""Characters."""


class _Loader(yaml.SafeLoader):
    """No key twice, no aliases: a description is not a program."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not used here", None)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def read_yaml(text: str, what: str) -> Any:
    """The value in `text`, which is `what` ("the build file"). InvalidSpec in one line."""
    if len(text) > LARGEST:
        raise InvalidSpec(f"{what} has more than {LARGEST} characters")
    try:
        return yaml.load(text, Loader=_Loader)  # a safe loader, of ours
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise InvalidSpec(f"{what} is no YAML: {' '.join(str(error).split())[:200]}") from None
