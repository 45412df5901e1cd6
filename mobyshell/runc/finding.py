"""How `mobyshell-runc` finds its modules: where they must be, and nowhere else.

Python's own way lists the directories of its path, and asks for every file that a module could be; for
a dozen small modules that is as much work as what they do. This takes a module that is ours, or one of
Python's own that every call needs, from the one place where it is, if its compiled form is there and
not out of date. Everything else it leaves to Python's own way.

The script itself loads it, before there is anything to import it with, and says where the package
lies, and how the compiled form of a source is read.
"""

import posix
import sys
from _frozen_importlib import ModuleSpec
from _imp import create_dynamic, exec_dynamic, extension_suffixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType

_OURS = "mobyshell.runc."
_PACKAGES = ("mobyshell", "mobyshell.runc")
_DYNAMIC = ("_json", "fcntl", "select")


class Finder:
    """For `sys.meta_path`: it finds, and it loads. `place`: the directory that the package is in;
    `compiled`: the code of a source, None if it has to be compiled."""

    def __init__(self, place: str, compiled: "Callable[[str], CodeType | None]") -> None:
        self._place, self._compiled = place, compiled
        self._dynamic = next((one for one in sys.path if one.endswith("/lib-dynload")), "")
        self._codes: dict[str, CodeType] = {}

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> "ModuleSpec | None":  # fmt: skip
        """Where a module is, if it is one of those that this knows, and just there."""
        package = name in _PACKAGES
        if package or (name.startswith(_OURS) and name.count(".") == 2):
            base = f"{self._place}/{name.replace('.', '/')}"
            source = f"{base}/__init__.py" if package else f"{base}.py"
        elif name == "__future__" and self._dynamic:
            source = f"{self._dynamic.rpartition('/')[0]}/{name}.py"
        elif name in _DYNAMIC and self._dynamic:
            source = f"{self._dynamic}/{name}{extension_suffixes()[0]}"
            try:
                posix.stat(source)
            except OSError:
                return None
            return ModuleSpec(name, self, origin=source)  # type: ignore[arg-type]
        else:
            return None
        code = self._compiled(source)
        if code is None:
            return None
        self._codes[name] = code
        spec = ModuleSpec(name, self, origin=source, is_package=package)  # type: ignore[arg-type]
        if package:
            spec.submodule_search_locations = [base]
        return spec

    def create_module(self, spec: ModuleSpec) -> "ModuleType | None":
        """A module in machine code; None: an empty one will do."""
        return create_dynamic(spec) if spec.name in _DYNAMIC else None

    def exec_module(self, module: "ModuleType") -> None:
        """Execute it."""
        module.__file__ = module.__spec__.origin if module.__spec__ else None
        code = self._codes.pop(module.__name__, None)
        if code is None:
            exec_dynamic(module)
        else:
            exec(code, module.__dict__)
