"""Bundles: a directory with a config.json and a root filesystem (bundle.md).

Owns how one is made from what the machine has (`new_bundle`) and read (`load_bundle`).
"""

from mobyshell.core.linux.trees import remove_tree
from mobyshell.core.runtime.bundle.load import Bundle, load_bundle
from mobyshell.core.runtime.bundle.new import SOURCES, default_source, new_bundle
from mobyshell.core.runtime.bundle.remove import remove_bundle

__all__ = [
    "SOURCES",
    "Bundle",
    "default_source",
    "load_bundle",
    "new_bundle",
    "remove_bundle",
    "remove_tree",
]
