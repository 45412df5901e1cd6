"""The themes of the workbench."""

from __future__ import annotations

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="moby-dark",
    primary="#4aa3df",
    secondary="#7c8fa6",
    accent="#f2b84b",
    warning="#e8a33d",
    error="#e5616c",
    success="#57b894",
    foreground="#d7dee7",
    background="#10161d",
    surface="#161e27",
    panel="#1d2733",
    dark=True,
    variables={"footer-key-foreground": "#f2b84b", "block-cursor-background": "#2f6f9f",
               "block-cursor-foreground": "#ffffff"},
)  # fmt: skip

LIGHT = Theme(
    name="moby-light",
    primary="#1f6fa8",
    secondary="#5b6b7c",
    accent="#a8660a",
    warning="#b26a00",
    error="#b3303c",
    success="#21784f",
    foreground="#1b2530",
    background="#f7f9fb",
    surface="#eef2f6",
    panel="#e2e8ef",
    dark=False,
)

CONTRAST = Theme(
    name="moby-contrast",
    primary="#00d7ff",
    secondary="#ffffff",
    accent="#ffff00",
    warning="#ffaf00",
    error="#ff5f5f",
    success="#00ff87",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#1c1c1c",
    dark=True,
)

ANSI = Theme(
    name="moby-ansi",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_yellow",
    warning="ansi_yellow",
    error="ansi_red",
    success="ansi_green",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    dark=True,
    variables={**BUILTIN_THEMES["ansi-dark"].variables, "footer-key-foreground": "ansi_yellow"},
)
"""The sixteen colours of the terminal itself, whatever the person made of them."""

THEMES = (DARK, LIGHT, CONTRAST, ANSI)


def default_theme(colours: str | None) -> str:
    """The theme to begin with: `colours` is rich's name for what the terminal can."""
    return ANSI.name if colours == "standard" else DARK.name
