"""Colours of JSON in an editor, from the theme that is in force."""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.widgets.text_area import TextAreaTheme

_TOKENS = {
    "json.label": "primary", "string": "success", "string.escape": "accent", "number": "accent",
    "boolean": "warning", "json.null": "warning", "json.error": "error",
}  # fmt: skip


def rich_colour(name: str) -> str | None:
    """A theme's colour by rich's name for it: `#4aa3df`, `blue`; None for the terminal's own."""
    plain = name.removeprefix("ansi_")
    return plain if plain.startswith("#") or (plain != name and plain != "default") else None


def syntax_theme(variables: Mapping[str, str]) -> TextAreaTheme:
    """The look of a text area whose own colours are set by the style sheet."""
    styles = {
        token: Style(color=rich_colour(variables.get(colour, "")))
        for token, colour in _TOKENS.items()
    }
    return TextAreaTheme(name="moby", syntax_styles=styles)
