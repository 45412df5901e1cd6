"""Reading a bundle."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mobyshell.core.errors import NotFound
from mobyshell.core.oci import Spec, load_spec


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that can be run. Paths are absolute."""

    directory: str
    spec: Spec
    rootfs: str


def load_bundle(directory: str | os.PathLike[str]) -> Bundle:
    """The bundle in `directory`. NotFound without config.json or rootfs, InvalidSpec."""
    path = os.path.abspath(directory)
    if not os.path.isdir(path):
        raise NotFound(
            f"no bundle at {os.fspath(directory)}", hint="`mobyshell bundle new NAME` makes one"
        )
    spec = load_spec(path)
    rootfs = os.path.normpath(os.path.join(path, spec.root.path if spec.root else "rootfs"))
    if not os.path.isdir(rootfs):
        raise NotFound(
            f"no root filesystem at {rootfs}",
            hint="root.path in config.json is relative to the bundle",
        )
    return Bundle(path, spec, rootfs)
