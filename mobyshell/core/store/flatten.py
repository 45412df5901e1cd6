"""An image unpacked into one plain directory: its layers upon each other, what they delete deleted.

For looking at, for chroot, for other tools; no snapshot is made and nothing refers to it. The
directory appears whole, by a rename, or not at all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from mobyshell.core.errors import AlreadyExists, SyscallFailed
from mobyshell.core.linux.files import sync_filesystem
from mobyshell.core.linux.own_ids import can_give_away
from mobyshell.core.linux.trees import remove_tree
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.store.layers import Form, LayerWorker, Limits, Progress
from mobyshell.core.store.store import Namespace
from mobyshell.core.store.unpack import Job, from_content, verify
from mobyshell.core.store.walk import Resolved

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def flatten(
    namespace: Namespace, image: Resolved, directory: Path, *, limits: Limits | None = None,
    report: Callable[[Descriptor, Progress | None], None] | None = None,
) -> None:  # fmt: skip
    """Unpack `image` into `directory`, which is not there yet, or is empty.

    Raises:
        AlreadyExists: it is there, with something in it.
        NotFound, InvalidLayer, InvalidImage, StoreDamaged: see `unpack`; nothing is left then.
        SyscallFailed: it cannot be made.
    """
    target = Path(os.path.abspath(directory))
    _must_be_free(target)
    scratch = target.with_name(f".{target.name[:64]}-{os.urandom(6).hex()}")
    try:
        scratch.mkdir(mode=0o755)
    except OSError as error:
        raise SyscallFailed.of(error, "mkdir", path=str(target)) from error
    try:
        tree = os.open(scratch, _DIRECTORY)
        try:
            os.fchmod(tree, 0o755)
            with namespace.leased() as held, LayerWorker() as worker:
                _apply(held, image, tree, worker, limits or Limits(), report)
            sync_filesystem(tree, path=str(target))
        finally:
            os.close(tree)
        _put(scratch, target)
    except BaseException:
        remove_tree(scratch)
        raise


def _apply(
    namespace: Namespace, image: Resolved, tree: int, worker: LayerWorker, limits: Limits,
    report: Callable[[Descriptor, Progress | None], None] | None,
) -> None:  # fmt: skip
    # a directory of one's own: who is not root could not remove what belongs to others
    source = from_content(namespace, several=can_give_away())
    for layer, diff_id in zip(image.layers, image.config.diff_ids, strict=True):

        def tell(progress: Progress, layer: Descriptor = layer) -> None:
            if report:
                report(layer, progress)

        done = source(Job(layer, diff_id, tree, Form.FLAT, limits, tell), worker)
        verify(layer, diff_id, done)
        if report:
            report(layer, None)


def _must_be_free(target: Path) -> None:
    try:
        if any(target.iterdir()):
            raise AlreadyExists(f"{target} is there, and is not empty",
                                hint="name another directory, or empty this one")  # fmt: skip
    except FileNotFoundError:
        return
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(target)) from error


def _put(scratch: Path, target: Path) -> None:
    try:
        scratch.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise AlreadyExists(f"{target} was made by somebody else meanwhile") from None
        raise SyscallFailed.of(error, "rename", path=str(target)) from error
