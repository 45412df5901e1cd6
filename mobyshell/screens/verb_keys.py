"""Keys, footers and actions of verbs, made from the verb table: a key is declared with its verb.

    verb table ──▶ verb_bindings ──▶ BINDINGS of a screen ──▶ action_verb ──▶ verb_<name> or perform

A screen writes `verb_<name>` only where a verb wants more than its subject: a signal, a tab.
Verbs that share a key (pause and resume) are one binding; the first that fits is the one meant.
"""

from __future__ import annotations

from collections.abc import Collection

from textual.binding import Binding

from mobyshell.commands.registry import Verb, verbs_of

LABELS = {"trace": "Explain", "exec": "Shell", "enter": "Shell", "rm": "Delete", "ps": "Processes"}
"""What a footer calls a verb, where its name alone would not say it."""


def label(verb: Verb) -> str:
    """What a footer and the help call a verb."""
    return LABELS.get(verb.verb, verb.verb.capitalize())


def verb_bindings(noun: str, *, shown: Collection[str]) -> list[Binding]:
    """A binding for each key of the verbs of `noun`; `shown` are the verbs in the footer."""
    by_key: dict[str, list[Verb]] = {}
    for one in verbs_of(noun).values():
        if one.key:
            by_key.setdefault(one.key, []).append(one)
    return [
        Binding(
            key, f"verb('{' '.join(one.verb for one in verbs)}')",
            "/".join(label(one) for one in verbs),
            show=any(one.verb in shown for one in verbs), id=f"{noun}.{verbs[0].verb}",
        )
        for key, verbs in by_key.items()
    ]  # fmt: skip
