"""Modules that others import and hardly ever use: loaded when something of them is asked for.

For a process that stays and whose memory counts. `dataclasses` imports `inspect`, and with that what
reads Python's source and byte code, for classes without a docstring; `urllib.parse` imports `ipaddress`
for addresses in brackets. (importlib.util.LazyLoader loads at the second `import` statement.)
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Later(ModuleType):
    """Stands in `sys.modules` until then."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):  # what the machinery of imports looks at
            raise AttributeError(name)
        from importlib import import_module

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        real = import_module(self.__name__)
        self.__dict__.update(real.__dict__)
        return getattr(real, name)


def lazily(*names: str) -> None:
    """Have these modules loaded at their first use; those that are there already are left alone."""
    for name in names:
        sys.modules.setdefault(name, _Later(name))
