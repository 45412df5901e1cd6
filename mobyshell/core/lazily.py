"""Modules that others import and hardly ever use: loaded when something of them is asked for.

For a process that stays and whose memory counts. `dataclasses` imports `inspect`, and with that what
reads Python's source and byte code, for classes without a docstring; `urllib.parse` imports `ipaddress`
for addresses in brackets, `socket` imports `selectors` to send files. (importlib.util.LazyLoader loads at
the second `import` statement.) And `typing`, most of which says something to checkers alone.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


RARE = (
    "array", "bz2", "fnmatch", "inspect", "ipaddress", "linecache", "lzma", "ntpath", "pwd", "selectors",
    "shutil", "textwrap",
)  # fmt: skip
"""What a shim hardly uses."""


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


class _Form:
    """A base that adds nothing, or a name for annotations, which nobody evaluates."""

    __slots__ = ()

    def __class_getitem__(cls, _: object) -> type[_Form]:
        return cls


def without_forms() -> None:
    """Have a `typing` of what modules ask for in their first lines, and which means nothing when a program
    runs. Whoever asks for more gets the real one."""
    light = _Later("typing")
    light.__dict__.update(
        TYPE_CHECKING=False, TypeVar=lambda *_, **__: _Form,
        **dict.fromkeys(("Any", "ClassVar", "Generic", "NoReturn", "Protocol", "TypeAlias"), _Form),
    )  # fmt: skip
    sys.modules.setdefault("typing", light)
