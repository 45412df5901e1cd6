"""The two meanings of the word namespace, and the way from one to the other."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

VIEWS = {"namespaces": "Tenants", "kernel": "Kernel"}
"""The screens, and what each is called beside the other."""

OTHER = {"namespaces": "kernel", "kernel": "namespaces"}


class ViewBar(Static):
    """Says which of the two is looked at."""

    def __init__(self, here: str) -> None:
        text = Text(no_wrap=True)
        for name, title in VIEWS.items():
            click = Style(meta={"@click": f"app.go('{name}')"})
            look = Style(reverse=True) if name == here else Style(dim=True)
            text.append(f" {title} ", look + click)
            text.append(" ")
        text.append(" v: the other", "dim")
        super().__init__(text, id="views")
