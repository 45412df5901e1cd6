"""The worker that unpacks layers for a program, and the program's end of it.

Nothing of an image is unpacked in the user's process. A `LayerWorker` has a process of its own
(`process`), which gets descriptors: where to read, which directory to fill. One does any number of
layers, one at a time; several work in parallel on layers that do not depend on each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from mobyshell.core.errors import Interrupted, from_wire
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.layers.child import Child
from mobyshell.core.store.layers.values import (
    Applied,
    Compression,
    Form,
    Limits,
    Progress,
    Region,
    Written,
)
from mobyshell.core.values import as_dict

_CANCELLED = "the work on a layer was cancelled"

Progressed = Callable[[Progress], None]
"""Is told about ten times a second how far a job is. What it raises ends the job."""


class LayerWorker:
    """A process that unpacks and writes layers. Use it with `with`.

    `enter` are the words of a program that starts the worker in another user namespace, where the
    caller is not root: it executes what follows, or waits for it, and hands on its descriptors.
    """

    def __init__(self, *, enter: Sequence[str] = ()) -> None:
        self._enter = tuple(enter)
        self._lock = threading.Lock()
        self._running: Child | None = None
        self._closed = False

    def start(self) -> LayerWorker:
        """Start its process, if it has none: it loads its modules while its owner does other things.
        SyscallFailed."""
        with self._lock:
            if self._running is None and not self._closed:
                self._running = Child(self._enter)
        return self

    def __enter__(self) -> LayerWorker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def apply(
        self,
        source: int | Region,
        tree: int,
        *,
        form: Form = Form.OVERLAY,
        ingest: int | None = None,
        compression: Compression | None = None,
        limits: Limits | None = None,
        sync: bool = False,
        writeback: bool = False,
        owners: bool = True,
        algorithm: str = "sha256",
        diff_algorithm: str = "sha256",
        progress: Progressed | None = None,
    ) -> Applied:
        """Unpack the layer that `source` holds (a pipe, a socket, or a region of a file) into the
        directory `tree`, reading it once. All descriptors stay the caller's. In the overlay forms
        the directory is empty before; in the flat form it holds the layers below, if there are any.

        The bytes of the blob are also written to `ingest`. The compression is told by the bytes;
        another than `compression` is an error. With `sync`, the copy and the tree are on the disk
        afterwards; with `writeback` the tree is on its way there, for one who will sync it. Without
        `owners` all files belong to the worker. `progress` is called about ten times a second; what
        it raises ends the job, and the worker's process.

        Whether `digest` and `diff_id` are the expected ones is the caller's to check, *before* the
        tree is used. On any error the tree is half made: remove it
        (`core/linux/trees.remove_tree`).

        InvalidLayer with the entry and the reason; SyscallFailed where the machine is to blame;
        WorkerLost, Interrupted (`cancel`), Unsupported (a compression).
        """
        fds = [source.fd if isinstance(source, Region) else source, tree]
        if ingest is not None:
            fds.append(ingest)
        request = {
            "job": "apply", "form": form, "compression": compression, "sync": sync,
            "region": (source.offset, source.length) if isinstance(source, Region) else None,
            "limits": as_dict(limits or Limits()), "owners": owners,
            "algorithm": algorithm, "diff_algorithm": diff_algorithm, "writeback": writeback,
        }  # fmt: skip
        return Applied(**_values(self._ask(request, fds, progress)))

    def diff_upper(
        self,
        upper: int,
        output: int,
        *,
        form: Form = Form.OVERLAY,
        compression: Compression = Compression.NONE,
        level: int | None = None,
        newest: float | None = None,
        sync: bool = False,
        progress: Progressed | None = None,
    ) -> Written:
        """Write to `output` what the directory `upper`, which was the upper one of an overlayfs, says
        of the layers below it: as long as that takes, whatever these hold.

        The same directory gives the same `diff_id`, always; the same `digest` with the same
        libraries. Times later than `newest` (seconds since the epoch) are written as that, as
        SOURCE_DATE_EPOCH demands. `level` is the compression library's. With `sync`, `output` is
        on the disk afterwards. What a layer cannot hold is told (`Written.left_out`).

        Unsupported where overlayfs noted that a part is elsewhere (redirect_dir, metacopy);
        WrongState if somebody writes there; InvalidLayer for what is too deep; SyscallFailed;
        WorkerLost, Interrupted.
        """
        request = _diff_request(form, compression, level, newest, sync)
        return Written(**_values(self._ask(request, [output, upper], progress)))

    def diff_trees(
        self,
        lower: int,
        upper: int,
        output: int,
        *,
        compression: Compression = Compression.NONE,
        level: int | None = None,
        newest: float | None = None,
        sync: bool = False,
        progress: Progressed | None = None,
    ) -> Written:
        """Write to `output` what makes the tree `upper` of the tree `lower`, as `diff_upper` does. An
        empty `lower` gives all of `upper`."""
        request = _diff_request(Form.FLAT, compression, level, newest, sync)
        return Written(**_values(self._ask(request, [output, lower, upper], progress)))

    def settle(self, tree: int, below: Sequence[str], done: Applied) -> None:
        """`settling.settle`, for layers that only the worker may look into. `below`: the directories
        of those below, the topmost first. SyscallFailed; WorkerLost, Interrupted."""
        self._ask({"job": "settle", "below": list(below), "done": as_dict(done)}, [tree], None)

    @property
    def closed(self) -> bool:
        """Whether it was cancelled or closed: it does nothing any more."""
        return self._closed

    def cancel(self) -> None:
        """End what is being done, from any thread: it raises Interrupted. The worker is closed."""
        self._closed = True
        running = self._running
        if running is not None:
            running.kill()

    def close(self) -> None:
        """End the worker's process. What another thread is doing with it raises Interrupted."""
        self.cancel()
        with self._lock:
            self._end()

    def _ask(
        self,
        request: dict[str, Any],
        fds: list[int],
        progress: Progressed | None,
    ) -> dict[str, Any]:
        with self._lock:
            if self._closed:
                raise Interrupted(_CANCELLED)
            try:
                return self._converse(request, fds, progress)
            except BaseException:
                self._end()
                if self._closed:
                    raise Interrupted(_CANCELLED) from None
                raise

    def _converse(
        self,
        request: dict[str, Any],
        fds: list[int],
        progress: Progressed | None,
    ) -> dict[str, Any]:
        if self._running is None:
            self._running = Child(self._enter)
            if self._closed:  # meanwhile
                raise Interrupted(_CANCELLED)
        running = self._running
        running.send(request, fds)
        while True:
            message = running.receive()
            if "answer" in message:
                answer: dict[str, Any] = message["answer"]
                return answer
            if "error" in message:
                raise from_wire(message["error"])
            if progress is not None:
                progress(Progress(**message["progress"]))

    def _end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.end()


def _diff_request(
    form: Form, compression: Compression, level: int | None, newest: float | None, sync: bool
) -> dict[str, Any]:
    return {
        "job": "diff", "form": form, "compression": compression, "level": level, "sync": sync,
        "newest": None if newest is None else int(newest * 1_000_000_000),
        "algorithm": "sha256", "diff_algorithm": "sha256",
    }  # fmt: skip


def _values(answer: dict[str, Any]) -> dict[str, Any]:
    """The members of an answer as the values have them."""
    values = {key: tuple(one) if isinstance(one, list) else one for key, one in answer.items()}
    for key in ("digest", "diff_id"):
        values[key] = Digest(answer[key])
    values["compression"] = Compression(answer["compression"])
    return values
