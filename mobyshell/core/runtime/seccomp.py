"""Compiled seccomp filters, each compiled once: a filter of 400 rules takes milliseconds."""

from __future__ import annotations

import json
from typing import Any


class SeccompCompiler:
    """Compiles filters of specs and remembers them by what they say. Bounded; owned by a Runtime."""

    LIMIT = 64

    def __init__(self) -> None:
        self._compiled: dict[str, tuple[bytes, int, str]] = {}

    def __call__(self, document: dict[str, Any], no_new_privileges: bool) -> tuple[bytes, int, str]:
        """(BPF program, flags for seccomp(2), a summary) of the spec's seccomp object.

        Raises Unsupported where libseccomp is missing, or the filter needs a later mobyshell.
        """
        from mobyshell.core.linux import seccomp

        key = json.dumps(document, sort_keys=True)
        found = self._compiled.get(key)
        if found is None:
            while len(self._compiled) >= self.LIMIT:
                del self._compiled[next(iter(self._compiled))]
            found = self._compiled[key] = seccomp.compile_filter(document)
        return found
