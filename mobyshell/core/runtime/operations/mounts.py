"""Operations for the entries of `mounts`: new filesystems, binds, and changes of what is mounted."""

from __future__ import annotations

import errno
import os.path
from collections.abc import Sequence

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.mount_options import MountOptions, parse_options
from mobyshell.core.oci import Mount
from mobyshell.core.runtime.operations.calls import (
    CWD,
    DIRECTORY,
    EMPTY,
    ROOT,
    SET_STRING,
    attach,
    clone_tree,
    close,
    configure,
    configured,
    context,
    flags,
    hand_over,
    in_root,
    inside,
    make_directories,
    new_filesystem,
    quote,
    reach_directory,
    reach_mount_point,
    set_attributes,
)  # fmt: skip
from mobyshell.core.runtime.operations.labels import of_files
from mobyshell.core.runtime.operations.mount_script import shell_bind, shell_filesystem
from mobyshell.core.runtime.operations.trees import Ids, Tree
from mobyshell.core.runtime.operations.verify import must_not_be_on, must_not_take_away
from mobyshell.core.runtime.plan import (
    Actor,
    Call,
    Cell,
    Flags,
    Operation,
    Phase,
    Scratch,
    Text,
)
from mobyshell.core.values import replace

MOUNT = Cell("mount")
TARGET = Cell("target")

# a value of fsconfig(FSCONFIG_SET_STRING) is at most 255 bytes (fs/fsopen.c)
LONGEST_VALUE = 255

# what lxcfs and the like give a container of its own: all else in /proc is the kernel's (as runc)
_MAY_COVER = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
        "net/dev", "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
    )
)  # fmt: skip


UNLABELLED = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue")
"""The kernel labels these itself, or not at all; the last has a label on its root, and no option."""


def mount(
    index: int, entry: Mount, bundle: str, tree: Tree | None = None, *, label: str | None = None,
    rootfs: str = "", user_namespace: bool = False, ids: Ids | None = None,
) -> Operation:  # fmt: skip
    """One entry of `mounts`, that is not of type cgroup. `tree`: what it binds, if the runtime
    has opened it. `label`: what SELinux shall know the files of a new filesystem by. `ids`: how
    they are mapped, if this is left to be done here: of what lies in `rootfs`."""
    options = parse_options(entry.options or ())
    if options.bind or options.remount:
        label = None
    if label and entry.type not in UNLABELLED:
        entry = replace(entry, options=(*(entry.options or ()), *context(label)))
        options = parse_options(entry.options or ())
    words = ",".join(entry.options or ())
    kind = entry.type or "none"
    origin = os.path.join(bundle, entry.source or "")
    if options.remount:
        made = _remount(entry, options)
        title = f"change the mount on {entry.destination}"
        man = "fspick(2), fsconfig(2), mount_setattr(2)"
        shell: tuple[str, ...] = (f"mount -o {quote(words)} {inside(entry.destination)}",)
    elif options.bind:
        within = below(rootfs, origin)
        source = _open_within(within, options, ids) if within and not tree else ()
        made = _bind(entry, options, origin, tree, source, user_namespace)
        title = f"bind {origin} on {entry.destination}"
        man = "open_tree(2), mount_setattr(2), move_mount(2)"
        shell = shell_bind(entry, options, origin)
    else:
        made = _filesystem(entry, options, kind, label if kind == "mqueue" else None)
        title = f"mount {kind} on {entry.destination}"
        man = "fsopen(2), fsconfig(2), fsmount(2), move_mount(2)"
        shell = shell_filesystem(entry, options, kind)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"{title} ({words})" if words else title,
        why=_PURPOSE.get(entry.destination, "The spec lists it among the mounts."),
        source=f"mounts[{index}]",
        spec="config.md#linux-mount-options" if options.remount else "config.md#mounts",
        man=man,
        calls=tuple(made),
        shell=shell,
    )


_PURPOSE = {
    "/proc": "Programs look up processes and kernel settings here; it shows this pid namespace.",
    "/dev": "A small private /dev, so that no device of the host is in reach by accident.",
    "/dev/pts": "Its own instance of pseudo terminals; those of the host stay out of reach.",
    "/dev/shm": "POSIX shared memory lives here (shm_overview(7)).",
    "/dev/mqueue": "POSIX message queues of this IPC namespace (mq_overview(7)).",
    "/sys": "Kernel objects, read-only: the network ones are those of this namespace.",
    "/sys/fs/cgroup": "The container's own limits and statistics.",
    "/tmp": "Scratch space that vanishes with the container.",
}


def _outside_proc(entry: Mount) -> list[Call]:
    """Nothing may lie on what is the kernel's in /proc, to which a link of the image may lead:
    whoever writes there, the runtime too, would write into the container's hands (CVE-2019-16884)."""
    place = os.path.normpath("/" + entry.destination.lstrip("/"))
    if place == "/proc" or place in _MAY_COVER:
        return []
    said = f"{entry.destination} lies inside of /proc, where nothing may be mounted"
    return must_not_be_on(TARGET, "the mount point", c.PROC_SUPER_MAGIC, said)


def _finish(
    options: MountOptions, target: Sequence[Call], *, attributes: tuple[int, int] = (0, 0),
    mount: Cell | Flags = MOUNT, before: Sequence[Call] = (), destination: str = "",
) -> list[Call]:  # fmt: skip
    """Place `mount` on the target with its attributes and propagation, and close both.
    `before`: what is done with both while it still is nowhere. What lies on the root is the root
    from there on."""
    calls = [*target, *before]
    on, clear = attributes
    if on or clear:
        calls.append(set_attributes(mount, on, clear))
    if options.rec_set or options.rec_clear:
        calls.append(set_attributes(mount, options.rec_set, options.rec_clear, recursive=True))
    calls.append(attach(mount, TARGET))
    calls += _spread(options, mount)
    if destination and os.path.normpath("/" + destination.lstrip("/")) == "/":
        calls.append(Call("dup3", (mount, ROOT, flags("open", c.O_CLOEXEC))))
    return [*calls, close(mount), close(TARGET)]


def _spread(options: MountOptions, mount: Cell | Flags) -> list[Call]:
    return [
        set_attributes(mount, 0, 0, value & ~c.MS_REC, recursive=bool(value & c.MS_REC))
        for value in options.propagation
    ]


def below(rootfs: str, path: str) -> str:
    """The rest of `path` if it lies below `rootfs`, else nothing."""
    top, path = rootfs.rstrip("/") + "/", os.path.normpath(path)
    return path.removeprefix(top) if top != "/" and path.startswith(top) else ""


def _open_within(path: str, options: MountOptions, ids: Ids | None) -> list[Call]:
    """A clone of what lies in the root: with what has been mounted there by now, which only this
    mount namespace shows, and by links as the container sees them."""
    source = Cell("within")
    how = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_EMPTY_PATH
    how |= c.AT_RECURSIVE if options.recursive else 0
    calls = [
        in_root(ROOT, path, source),
        Call("open_tree", (source, EMPTY, flags("open_tree", how)), result=MOUNT),
        close(source),
    ]
    if ids is None:
        return calls
    return [*calls, *hand_over(b"i" + ids.as_word(), MOUNT)]


def _bind(
    entry: Mount, options: MountOptions, origin: str, tree: Tree | None, source: Sequence[Call],
    user_namespace: bool,
) -> list[Call]:  # fmt: skip
    mount = tree.descriptor if tree else MOUNT
    target = [*reach_mount_point(ROOT, entry.destination, mount, TARGET), *_outside_proc(entry)]
    clone = list(source)
    if not tree and not source:
        clone = [clone_tree(origin, MOUNT, recursive=options.recursive)]
    on, clear = options.replaced()
    kept: list[Call] = []
    if user_namespace:
        # what the host's mount came with is locked there, unless it is taken away by name: an error
        kept = must_not_take_away(
            mount, on, options.attr_clear | clear & c.MOUNT_ATTR__ATIME, origin
        )
        on &= ~(c.MOUNT_ATTR__ATIME | c.MOUNT_ATTR_NODIRATIME)
        clear &= c.MOUNT_ATTR_NOSYMFOLLOW
    attributes = (on, clear)
    calls = [*clone, *_finish(
        options, target, attributes=attributes, mount=mount, before=kept,
        destination=entry.destination,
    )]  # fmt: skip
    if "copy-symlink" not in options.extensions:
        return calls
    return [*_copy_link(entry.destination, origin, len(calls)), *calls]


def _copy_link(destination: str, origin: str, bind: int) -> list[Call]:
    """A link like `origin` at the destination, in place of the `bind` calls that come after;
    these, if it is no link. What is there already stays."""
    words, parent = Scratch(f"link {origin}", 4096), Cell("parent")
    way, _, name = destination.strip("/").rpartition("/")
    make = [
        *make_directories(ROOT, way),
        in_root(ROOT, way, parent, DIRECTORY),
        Call("symlinkat", (words, parent, Text(name)), tolerate=(errno.EEXIST,)),
    ]
    # one byte is left for the end of the string: the memory is zero
    read = Call(
        "readlinkat", (CWD, Text(origin), words, words.size - 1),
        tolerate=(errno.EINVAL, errno.ENOENT), skip_on_error=len(make) + 1,
    )  # fmt: skip
    return [read, *make, Call("close", (parent,), skip_on_success=bind)]


def binds_dev(entry: Mount) -> bool:
    """Whether /dev is somebody else's, in which nothing is made."""
    binds = {"bind", "rbind"} & set(entry.options or ())
    return os.path.normpath(entry.destination) == "/dev" and bool(binds)


def open_at_first(entry: Mount, from_here: Sequence[Mount]) -> Mount:
    """The same entry, or one that is not read-only yet: a tmpfs in which later entries of the spec,
    or devices, have places to be made."""
    options = entry.options or ()
    place = os.path.normpath(entry.destination)
    if entry.type != "tmpfs" or "remount" in options or not parse_options(options).read_only:
        return entry
    later = any(os.path.normpath(one.destination).startswith(f"{place}/") for one in from_here)
    if place != "/dev" and not later:
        return entry
    return replace(entry, options=tuple(one for one in options if one != "ro"))


def read_only_at_last(index: int, entry: Mount) -> Operation:
    """Close what `open_at_first` left open."""
    words = [one for one in entry.options or () if one != "tmpcopyup" and "=" not in one]
    options = parse_options(("remount", *words))
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"make {entry.destination} read-only",
        why="Mount points and devices have been made in it, which takes one that can be written.",
        source=f"mounts[{index}]",
        spec="config.md#mounts",
        man="fspick(2), mount_setattr(2)",
        calls=tuple(_remount(entry, options)),
        shell=(f"mount -o remount,{','.join(words)} {inside(entry.destination)}",),
    )


def _filesystem(entry: Mount, options: MountOptions, kind: str, label: str | None) -> list[Call]:
    """`label`: of its root, where the options have none."""
    origin = entry.source or kind
    values = [origin, *(value for _, value in map(configured, options.data) if value)]
    if options.old_flags or any(len(one.encode()) > LONGEST_VALUE for one in values):
        return _old_filesystem(entry, options, kind, origin, label)
    copied = kind == "tmpfs" and "tmpcopyup" in options.extensions
    # as mount(2) does it: a new filesystem is read-only itself, not only this mount of it;
    # but not before what it covers has been copied
    data = (*options.data, "ro") if options.read_only and not copied else options.data
    at_first = options.attr_set & ~c.MOUNT_ATTR_RDONLY if copied else options.attr_set
    made = new_filesystem(kind, origin, data, at_first, MOUNT)
    # the mount point first: a tmpfs takes the mode of what it covers
    split = len(made) - 3
    late = c.MOUNT_ATTR_RDONLY if copied and options.read_only else 0
    owned = any(word.startswith(("uid=", "gid=")) for word in options.data)
    copy = hand_over(b"c" if owned else b"co", TARGET, MOUNT) if copied else ()
    before = [*made[split:], *copy]
    before += of_files(MOUNT, label) if label else []
    target = _target(entry, options, kind)
    return [*made[:split], *_finish(
        options, target, attributes=(late, 0), before=before, destination=entry.destination
    )]  # fmt: skip


def _target(entry: Mount, options: MountOptions, kind: str) -> list[Call]:
    """Open the mount point. `context` is the filesystem in the making."""
    if kind in ("proc", "sysfs"):
        # by a link these would lie elsewhere, and a path below /proc lead to the image's own files
        return _ordinary(entry, kind)
    like: list[Call] = []
    if kind == "tmpfs" and not any(word.startswith("mode=") for word in options.data):
        # one that was there already keeps its mode, as with runc: /tmp stays 1777
        mode = Scratch(f"mode of {entry.destination}", 8)
        set_mode = (Cell("context"), SET_STRING, Text("mode"), mode, 0)
        like = [*hand_over(b"m" + mode.name.encode(), TARGET), Call("fsconfig", set_mode)]
    target = reach_directory(ROOT, entry.destination, TARGET, if_there=like)
    return [*target, *_outside_proc(entry)]


def _ordinary(entry: Mount, kind: str) -> list[Call]:
    said = f'filesystem "{kind}" must be mounted on ordinary directory'  # runc's words
    return reach_directory(ROOT, entry.destination, TARGET, links=False, otherwise=said)


def _old_filesystem(
    entry: Mount, options: MountOptions, kind: str, origin: str, label: str | None
) -> list[Call]:
    """By mount(2), on the working directory: for what fsconfig(2) has no room or no word for."""
    given, data = options.as_flags()
    target = _ordinary(entry, kind)
    if kind not in ("proc", "sysfs"):
        target = [*reach_directory(ROOT, entry.destination, TARGET), *_outside_proc(entry)]
    calls = [
        *target,
        Call("fchdir", (TARGET,)),
        close(TARGET),
        Call(
            "mount",
            (Text(origin), Text("."), Text(kind), flags("mount", given), Text(",".join(data))),
        ),
        Call("chdir", (Text("/"),)),
    ]
    if options.propagation or label:
        # it has no descriptor: looked up once more, and at worst another mount in there is spread
        again = in_root(ROOT, entry.destination, TARGET, DIRECTORY)
        labelled = of_files(TARGET, label) if label else []
        calls += [again, *labelled, *_spread(options, TARGET), close(TARGET)]
    return calls


def _remount(entry: Mount, options: MountOptions) -> list[Call]:
    """Change what is mounted there: as mount(2), all attributes, whether they are named or not."""
    on, clear = options.replaced()
    attributes = [
        *([set_attributes(TARGET, on, clear)] if on or clear else []),
        *(
            [set_attributes(TARGET, options.rec_set, options.rec_clear, recursive=True)]
            if options.rec_set or options.rec_clear
            else []
        ),
        *_spread(options, TARGET),
        close(TARGET),
    ]
    reach = in_root(ROOT, entry.destination, TARGET)
    if options.bind:
        return [reach, *attributes]
    context = Cell("context")
    how = flags("fspick", c.FSPICK_CLOEXEC | c.FSPICK_EMPTY_PATH)
    data = (*options.data, "ro" if options.read_only else "rw")
    apply = Flags(c.FSCONFIG_CMD_RECONFIGURE, "FSCONFIG_CMD_RECONFIGURE")
    return [
        reach,
        Call("fspick", (TARGET, EMPTY, how), result=context),
        *(configure(context, *configured(word)) for word in data),
        Call("fsconfig", (context, apply, 0, 0, 0)),
        close(context),
        *attributes,
    ]
