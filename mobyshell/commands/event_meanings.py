"""What each topic means, in containerd's terms and in what the kernel did. A table."""

from __future__ import annotations

CONTAINERD, OURS = "containerd", "mobyshell"
"""Whose word a topic is: one that containerd sends too, or one of ours."""


class Meaning:
    """What a topic says has happened, whose word it is, and what usually comes after it."""

    __slots__ = ("means", "then", "whose")

    def __init__(self, means: str, then: str = "", whose: str = CONTAINERD) -> None:
        self.means, self.then, self.whose = means, then, whose


MEANINGS = {
    "/namespaces/create": Meaning(
        "A namespace (a tenant, no namespace of the kernel) has its first object.",
        "Its images, containers and content are invisible to the others."),
    "/namespaces/update": Meaning("Labels of a namespace changed: defaults for who works in it."),
    "/namespaces/delete": Meaning("A namespace is gone. It had to be empty."),
    "/content/create": Meaning(
        "A blob is in the content store: all of it was written and its digest agrees.",
        "A label on it, an image or a lease must hold it, or the next collection takes it."),
    "/content/delete": Meaning("A blob is gone: nothing held it any more, or it was removed."),
    "/images/create": Meaning(
        "A name points to a target, the digest of an index or a manifest.",
        "Everything that the target refers to is held by it from now on."),
    "/images/update": Meaning("A name points to another target, or its labels changed."),
    "/images/delete": Meaning(
        "A name is gone. Its blobs and snapshots are not: they go with the next collection.",
        "/content/delete and /snapshot/remove, for what nothing else holds."),
    "/containers/create": Meaning(
        "A container is recorded: spec, runtime, snapshot. It is metadata, nothing runs.",
        "/tasks/create, when it is to run."),
    "/containers/update": Meaning("The record of a container changed. A running task does not."),
    "/containers/delete": Meaning("The record of a container is gone. Its task had to be before."),
    "/snapshot/prepare": Meaning(
        "A tree was begun upon its parent: writable, or as a view that cannot be written.",
        "/snapshot/commit where a layer was unpacked into it; none where a container uses it."),
    "/snapshot/commit": Meaning(
        "A writable tree became a layer: it has its final name, and is never written again."),
    "/snapshot/remove": Meaning("A tree is gone, with what was written into it."),
    "/tasks/create": Meaning(
        "A container is made: namespaces, mounts, cgroups and its process, which waits before its "
        "program (runc create).", "/tasks/start"),
    "/tasks/start": Meaning(
        "The process may go on, and becomes the container's program by execve.", "/tasks/exit"),
    "/tasks/exit": Meaning(
        "A process has ended and was waited for: its status is known. With an exec_id it is a "
        "further process, without one it is init, and the kernel has killed all the others.",
        "/tasks/delete: until then the task is there, stopped, and so are its logs."),
    "/tasks/oom": Meaning(
        "A task wanted more memory than it may have: the kernel kills one of its processes.",
        "/tasks/exit with status 137, if it was init or one of an exec."),
    "/tasks/restarting": Meaning(
        "A task that has ended is started again by its restart policy, after a pause.",
        "/tasks/create and /tasks/start, of a new process in what the last one had.", OURS),
    "/tasks/health": Meaning(
        "By its health check a task is healthy, or (after several failures in a row) is not. Nothing "
        "is done to it.", "", OURS),
    "/tasks/delete": Meaning("A stopped task is forgotten: cgroups, mounts and state are gone."),
    "/tasks/paused": Meaning("All its processes are frozen, by the cgroup freezer.",
                             "/tasks/resumed"),
    "/tasks/resumed": Meaning("Its processes go on where they were frozen."),
    "/tasks/exec-added": Meaning(
        "A task has one more process to be, in the container's namespaces.", "/tasks/exec-started"),
    "/tasks/exec-started": Meaning(
        "A further process was started in the container's namespaces.",
        "/tasks/exit with its exec_id."),
    "/tasks/checkpointed": Meaning("The processes were written to images, by CRIU."),
    "/tasks/signal": Meaning("Somebody sent a signal through us.",
                             "/tasks/exit, if it is one that ends it.", OURS),
    "/tasks/update": Meaning("Limits changed: the cgroup files were written.", "", OURS),
    "/networks/connect": Meaning(
        "A task that was there has one more network: a device, an address, names of neighbours.", "",
        OURS),
    "/networks/disconnect": Meaning("A task was taken out of a network.", "", OURS),
    "/tasks/restored": Meaning("Processes were brought back from images.", "/tasks/exit", OURS),
    "/tasks/adopt": Meaning(
        "The shim died and its successor took the task over. The container did not notice.", "",
        OURS),
    "/runtime/call": Meaning(
        "One system call of the plan was made, by the runtime or by the child on its way to the "
        "program.", "", OURS),
    "/runtime/hook": Meaning("A hook of the spec ran, with its exit status and what it wrote.", "",
                             OURS),
    "/runtime/failed": Meaning("A verb failed on this container; what it had made is undone.", "",
                               OURS),
}  # fmt: skip
"""By topic. What is here and what can happen is compared by a test."""
