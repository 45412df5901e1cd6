"""Snapshots explained before anything is done: the steps of each verb, and what each word of a mount
is for. Pure: says what `snapshotter`, `overlay` and `mounting` do, and does none of it.

Sources: mount(2), fsopen(2), fsconfig(2), open_tree(2), move_mount(2),
https://docs.kernel.org/filesystems/overlayfs.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from mobyshell.core.store.labels import GC_BREF, GC_REF_CONTENT, GC_REF_SNAPSHOT, GC_ROOT
from mobyshell.core.store.snapshots.driver import FILES, bind
from mobyshell.core.store.snapshots.overlay_options import OverlayOptions, escape
from mobyshell.core.store.snapshots.protocol import INHERITED, Kind, Mount, Snapshot, Usage
from mobyshell.core.values import value


@value
class Step:
    """Something that will be done: what, why, and the calls or commands that do it."""

    title: str
    why: str
    calls: tuple[str, ...] = ()


_OPTIONS = {
    "index": "overlayfs keeps no index of hard links. With one it would refuse an upper "
    "directory that was used upon other layers before",
    "userxattr": "overlayfs keeps its notes in user.overlay.* attributes, which a user namespace may "
    "write (Linux 5.11)",
    "workdir": "where overlayfs makes files before it renames them into the upper directory, so "
    "that they come whole; on the same file system",
    "upperdir": "what is written goes here: these are the files of this snapshot alone",
    "lowerdir": "what shows through, the nearest first; never written",
    "rbind": "the directory itself appears in another place: there is nothing to merge",
    "ro": "nothing can be written through this mount",
    "rw": "what is written goes into the directory",
    "uidmap": "owners are seen through this map; no file is changed (mount_setattr(2), "
    "MOUNT_ATTR_IDMAP)",
    "gidmap": "groups are seen through this map",
}


def option_reasons(mount: Mount) -> list[tuple[str, str]]:
    """Each option of a mount, with what it is for."""
    return [(one, _OPTIONS.get(one.partition("=")[0], "")) for one in mount.options]


def mount_command(mount: Mount, target: str) -> str:
    """The same for a shell: mount(8)."""
    options = quote(",".join(mount.options))
    return f"mount -t {quote(mount.type)} {quote(mount.source)} {quote(target)} -o {options}"


def mount_json(mount: Mount) -> str:
    """As containerd's API has it (api/types/mount.proto)."""
    fields = {"type": mount.type, "source": mount.source, "target": mount.target,
              "options": list(mount.options)}  # fmt: skip
    return json.dumps(fields, indent=2)


def mount_lines(mount: Mount, target: str) -> list[str]:
    """The same, an option a line: mount(8) puts commas between them."""
    words = [f"-o {quote(one)}" for one in mount.options]
    lines = [f"mount -t {quote(mount.type)} {quote(mount.source)} {quote(target)}", *words]
    return [f"{'    ' if number else ''}{one}{' ' + chr(92) if one is not lines[-1] else ''}"
            for number, one in enumerate(lines)]  # fmt: skip


def mount_calls(mount: Mount, target: str) -> list[str]:
    """The same as calls of mount(2), in lines of C."""
    place = json.dumps(target)
    if mount.type == "overlay":
        words = [one for one in mount.options if one not in ("ro", "rw")]
        writable = any(one.startswith("upperdir=") for one in words)
        data = [json.dumps(("," if number else "") + one) for number, one in enumerate(words)]
        first = f'mount("overlay", {place}, "overlay", {"0" if writable else "MS_RDONLY"},'
        return [first, *(f"      {one}" for one in data[:-1]), f"      {data[-1]});"]
    calls = [f"mount({json.dumps(mount.source)}, {place}, NULL, MS_BIND|MS_REC, NULL);"]
    if "ro" in mount.options:
        calls.append(f"mount(NULL, {place}, NULL, MS_REMOUNT|MS_BIND|MS_RDONLY, NULL);")
    return calls


def attach_steps(mount: Mount, target: str) -> list[Step]:
    """How `mounting` mounts it: detached first, so that it is whole before anybody sees it."""
    guarded = Step(
        "without setuid programs and devices",
        "the host's users can reach it, and its files are a stranger's",
        ('mount_setattr(fd, "", AT_EMPTY_PATH, {MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV})',),
    )
    attached = Step(
        f"attach it to {target}", "until then it is nowhere, and gone if we die",
        (f'move_mount(fd, "", AT_FDCWD, "{target}", MOVE_MOUNT_F_EMPTY_PATH)',),
    )  # fmt: skip
    if mount.type != "overlay":
        calls = [f'open_tree(AT_FDCWD, "{mount.source}", OPEN_TREE_CLONE|AT_RECURSIVE) = fd']
        if "ro" in mount.options:
            calls.append('mount_setattr(fd, "", AT_EMPTY_PATH, {MOUNT_ATTR_RDONLY})')
        return [Step("clone the directory as a mount", _OPTIONS["rbind"], tuple(calls)),
                guarded, attached]  # fmt: skip
    options = OverlayOptions.parse(mount.options)
    calls = ['fsopen("overlay", FSOPEN_CLOEXEC) = fs']
    settings = [*(word.partition("=")[::2] for word in options.words if word not in ("ro", "rw")),
                ("workdir", options.work), ("upperdir", options.upper),
                *(("lowerdir+", one) for one in options.lowers)]  # fmt: skip
    for name, setting in settings:
        if setting:
            calls.append(f'fsconfig(fs, FSCONFIG_SET_STRING, "{name}", "{setting}")')
        elif name not in ("workdir", "upperdir"):
            calls.append(f'fsconfig(fs, FSCONFIG_SET_FLAG, "{name}")')
    calls.append("fsconfig(fs, FSCONFIG_CMD_CREATE)")
    calls.append("fsmount(fs, 0, " + ("0" if options.upper else "MOUNT_ATTR_RDONLY") + ") = fd")
    return [Step("put the layers over each other", "one by one: any number of them, and no quoting",
                 tuple(calls)), guarded, attached]  # fmt: skip


def make_steps(
    key: str, kind: Kind, parent: str, lowers: Sequence[Path], place: Path, *, flat: bool
) -> list[Step]:
    """What prepare and view do. `lowers`: the parent's files and what shows through them; `place`
    the snapshotter's directory; `flat`: its trees are whole."""
    new = place / "new-…"
    steps = [
        Step("make a directory, and lock it", "what has neither a row nor a lock is garbage, "
             "wherever this is interrupted", (f"mkdir {new}", "flock(fd, LOCK_EX)")),
    ]  # fmt: skip
    if flat and parent and kind is Kind.ACTIVE:
        steps.append(
            Step(f"copy the files of {parent}", "each tree of this snapshotter is whole; blocks are "
                 "shared where the file system can", (f"cp -a --reflink=auto {lowers[0]} {new}/{FILES}",))
        )  # fmt: skip
    else:
        like = f"like the root of {parent}, for it will be the root of what is merged"
        steps.append(Step("make room for files", f"empty; owner, mode and attributes "
                          f"{like if parent else 'are those of a root directory'}",
                          (f"mkdir {new}/{FILES}",)))  # fmt: skip
    if not flat and kind is Kind.ACTIVE:
        steps.append(Step("make overlayfs' own directory", _OPTIONS["workdir"],
                          (f"mkdir {new}/work",)))  # fmt: skip
    what = {Kind.VIEW: "a view, which cannot be written"}.get(kind, "active: it can be written")
    steps.append(
        Step(f"name it {key}", f"{what}. In one transaction, so that there is never a name without "
             "files: the row, the event /snapshot/prepare, and the number of the directory",
             (f"INSERT INTO snapshots ({key!r}, {str(kind)!r}, parent {parent or None!r}, …)",
              f"rename {new} → {place}/N", "fsync"))
    )  # fmt: skip
    return steps


def commit_steps(
    name: str, key: str, files: Path, labels: Sequence[str], *, flat: bool
) -> list[Step]:
    """What commit does. `labels`: the names of the active one's."""
    kept = [one for one in labels if one.startswith(INHERITED)]
    steps = [
        Step("have its files on the disk", "a committed snapshot never changes any more, and "
             "outlives a power cut", (f"syncfs({files})",)),
        Step(f"make {key} the committed {name}", "in one transaction: there is no moment at which "
             f"both are there, or neither. Of its labels {', '.join(kept) or 'none'} go over; from "
             f"now on it can be a parent, and {key} is free",
             (f"UPDATE snapshots SET key = {name!r}, kind = 'committed' WHERE key = {key!r}",
              f"event /snapshot/commit {key} → {name}")),
    ]  # fmt: skip
    if not flat:
        steps.append(Step("remove overlayfs' own directory", "nobody writes there any more",
                          (f"rmdir {files.parent}/work",)))  # fmt: skip
    return steps


def remove_steps(key: str, directory: Path, usage: Usage) -> list[Step]:
    """What rm does. `directory`: of its tree."""
    return [
        Step(f"forget the name {key}", "in one transaction with the event /snapshot/remove; from "
             "then on nobody sees it", (f"DELETE FROM snapshots WHERE key = {key!r}",)),
        Step("remove its files", f"{usage.inodes} inodes, {usage.size} bytes; not if another "
             "namespace has the same tree. What a crash leaves is taken by `store gc`",
             (f"rename {directory} → {directory.parent}/rm-…", f"rm -r {directory.parent}/rm-…")),
    ]  # fmt: skip


def label_steps(snapshot: Snapshot, changes: Mapping[str, str | None]) -> list[Step]:
    """What label does."""
    steps = []
    for name, label in changes.items():
        before = snapshot.labels.get(name)
        if label is None:
            title = f"take {name} away" if before is not None else f"{name} is not there"
        else:
            title = f"set {name} to {label}" + (f", which was {before}" if before else "")
        why = next((why for start, why in _LABELS if name.startswith(start)),
                   "filters find it: labels.KEY==VALUE")  # fmt: skip
        steps.append(Step(title, why, (f"UPDATE snapshots SET labels = … "
                                       f"WHERE key = {snapshot.name!r}",)))  # fmt: skip
    return steps


_LABELS = (
    (GC_ROOT, "whatever else, garbage collection keeps what has it, and what that refers to"),
    (GC_REF_CONTENT, "the blob that is the value is kept as long as this snapshot"),
    (GC_REF_SNAPSHOT, "the snapshot that is the value is kept as long as this one"),
    (GC_BREF, "this snapshot is kept as long as what the value names"),
    (INHERITED, "it goes over to what this is committed as"),
)


def view_mount(trees: Sequence[Path]) -> Mount:
    """How a view of what lies in `trees`, the topmost first, is mounted."""
    if len(trees) == 1:
        return bind(trees[0], writable=False)[0]
    return Mount("overlay", "overlay", ("index=off", "lowerdir=" + ":".join(map(escape, trees))))


def detach_steps(target: str) -> list[Step]:
    """What unmounting does before its view is removed."""
    return [Step(f"unmount {target}", "refused while somebody uses it (EBUSY)",
                 (f'umount2("{target}", UMOUNT_NOFOLLOW)',))]  # fmt: skip
