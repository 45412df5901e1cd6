"""The mount options of the runtime spec, taken apart by what the kernel's interface does with each.

Owns the vocabulary of config.md#linux-mount-options. Pure: touches nothing.
"""

from __future__ import annotations

import re

from mobyshell.core.linux import constants as c
from mobyshell.core.values import value

_ATTRIBUTES: dict[str, tuple[int, bool]] = {
    "ro": (c.MOUNT_ATTR_RDONLY, True), "rw": (c.MOUNT_ATTR_RDONLY, False),
    "nosuid": (c.MOUNT_ATTR_NOSUID, True), "suid": (c.MOUNT_ATTR_NOSUID, False),
    "nodev": (c.MOUNT_ATTR_NODEV, True), "dev": (c.MOUNT_ATTR_NODEV, False),
    "noexec": (c.MOUNT_ATTR_NOEXEC, True), "exec": (c.MOUNT_ATTR_NOEXEC, False),
    "nodiratime": (c.MOUNT_ATTR_NODIRATIME, True), "diratime": (c.MOUNT_ATTR_NODIRATIME, False),
    "nosymfollow": (c.MOUNT_ATTR_NOSYMFOLLOW, True),
    "symfollow": (c.MOUNT_ATTR_NOSYMFOLLOW, False),
}  # fmt: skip

_ATIME: dict[str, int] = {
    "relatime": c.MOUNT_ATTR_RELATIME, "noatime": c.MOUNT_ATTR_NOATIME,
    "strictatime": c.MOUNT_ATTR_STRICTATIME,
}  # fmt: skip

# they only take back what was said before, as with mount(8) and runc; of a tree, they say relatime
_NO_ATIME: dict[str, int] = {
    "norelatime": c.MOUNT_ATTR_RELATIME, "atime": c.MOUNT_ATTR_NOATIME,
    "nostrictatime": c.MOUNT_ATTR_STRICTATIME,
}  # fmt: skip

_SIMPLE = (
    c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC
    | c.MOUNT_ATTR_NOSYMFOLLOW
)  # fmt: skip

_PROPAGATION: dict[str, int] = {
    "shared": c.MS_SHARED, "rshared": c.MS_SHARED | c.MS_REC,
    "slave": c.MS_SLAVE, "rslave": c.MS_SLAVE | c.MS_REC,
    "private": c.MS_PRIVATE, "rprivate": c.MS_PRIVATE | c.MS_REC,
    "unbindable": c.MS_UNBINDABLE, "runbindable": c.MS_UNBINDABLE | c.MS_REC,
}  # fmt: skip

PROPAGATION = tuple(_PROPAGATION)
"""The names of propagation types, as mounts and `linux.rootfsPropagation` take them."""

# of the superblock, and known to mount(2) alone: fsconfig(2) has no name for them
_OLD_FLAGS: dict[str, tuple[int, bool]] = {
    "silent": (c.MS_SILENT, True), "loud": (c.MS_SILENT, False),
    "iversion": (c.MS_I_VERSION, True), "noiversion": (c.MS_I_VERSION, False),
    "acl": (c.MS_POSIXACL, True), "noacl": (c.MS_POSIXACL, False),
}  # fmt: skip

SUPERBLOCK: dict[str, tuple[int, bool]] = {
    "sync": (c.MS_SYNCHRONOUS, True), "async": (c.MS_SYNCHRONOUS, False),
    "dirsync": (c.MS_DIRSYNC, True), "lazytime": (c.MS_LAZYTIME, True),
    "nolazytime": (c.MS_LAZYTIME, False), "mand": (c.MS_MANDLOCK, True),
    "nomand": (c.MS_MANDLOCK, False),
}  # fmt: skip
"""Of the superblock: fsconfig(2) takes them by name, mount(2) as these flags."""

_EXTENSIONS = ("tmpcopyup", "idmap", "ridmap", "copy-symlink")

# a comma parts options, except behind a backslash (overlay's paths) and in quotes (SELinux labels)
_PART = re.compile(r'(?:\\.|"[^"]*"|[^,\\"]|["\\])+')

# what mount(2) calls the attributes of mount_setattr(2)
_AS_FLAGS = (
    (c.MOUNT_ATTR_RDONLY, c.MS_RDONLY), (c.MOUNT_ATTR_NOSUID, c.MS_NOSUID),
    (c.MOUNT_ATTR_NODEV, c.MS_NODEV), (c.MOUNT_ATTR_NOEXEC, c.MS_NOEXEC),
    (c.MOUNT_ATTR_NODIRATIME, c.MS_NODIRATIME), (c.MOUNT_ATTR_NOSYMFOLLOW, c.MS_NOSYMFOLLOW),
    (c.MOUNT_ATTR_NOATIME, c.MS_NOATIME), (c.MOUNT_ATTR_STRICTATIME, c.MS_STRICTATIME),
)  # fmt: skip


@value
class MountOptions:
    """Options of one mount. `attr_*` are MOUNT_ATTR bits, `rec_*` those for the whole tree.

    `propagation` is MS_SHARED … with MS_REC, in the order given; `data` are the filesystem's own
    options and those of `SUPERBLOCK`, one each; `old_flags` are MS_ flags that only mount(2)
    takes; `extensions` those that only a runtime understands (`tmpcopyup`, `idmap`, `ridmap`,
    `copy-symlink`).
    """

    bind: bool = False
    recursive: bool = False
    attr_set: int = 0
    attr_clear: int = 0
    rec_set: int = 0
    rec_clear: int = 0
    propagation: tuple[int, ...] = ()
    data: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    remount: bool = False
    old_flags: int = 0

    @property
    def read_only(self) -> bool:
        return bool(self.attr_set & c.MOUNT_ATTR_RDONLY)

    def replaced(self) -> tuple[int, int]:
        """(attributes to set, to clear) of a mount that is there: all of them if any is named, as
        mount(2) does; those of access times together, if any of these is. (0, 0): keep them."""
        on = self.attr_set
        if not on and not self.attr_clear:
            return 0, 0
        clear = _SIMPLE & ~on
        if self.attr_clear & c.MOUNT_ATTR__ATIME or on & c.MOUNT_ATTR_NODIRATIME:
            # relatime, unless another is named: its value is 0
            clear |= c.MOUNT_ATTR__ATIME | (c.MOUNT_ATTR_NODIRATIME & ~on)
        return on, clear

    def as_flags(self) -> tuple[int, tuple[str, ...]]:
        """(MS_ flags, the data that is left) for mount(2): of a new filesystem, whose tree is
        one mount."""
        attributes = (self.attr_set & ~self.rec_clear) | self.rec_set
        flags = self.old_flags
        for bit, flag in _AS_FLAGS:
            if attributes & bit:
                flags |= flag
        left = []
        for word in self.data:
            if word in SUPERBLOCK:
                bit, on = SUPERBLOCK[word]
                flags = flags | bit if on else flags & ~bit
            else:
                left.append(word)
        return flags, tuple(left)


def names() -> tuple[str, ...]:
    """Every option that means something here, in alphabetical order."""
    plain = {*_ATTRIBUTES, *_ATIME, *_NO_ATIME}
    whole_tree = {f"r{name}" for name in plain}
    others = {"bind", "rbind", "remount", "defaults", *_EXTENSIONS, *SUPERBLOCK, *_OLD_FLAGS}
    return tuple(sorted({*others, *plain, *whole_tree, *_PROPAGATION}))


def propagation_flags(name: str) -> int:
    """The MS_ flags of a propagation name. KeyError for another word."""
    return _PROPAGATION[name]


def _apply(word: str, set_bits: int, clear_bits: int, tree: bool = False) -> tuple[int, int] | None:
    if word in _NO_ATIME:
        if tree:
            return set_bits & ~c.MOUNT_ATTR__ATIME, clear_bits | c.MOUNT_ATTR__ATIME
        said = clear_bits & c.MOUNT_ATTR__ATIME
        if said and set_bits & c.MOUNT_ATTR__ATIME == _NO_ATIME[word]:
            return set_bits & ~c.MOUNT_ATTR__ATIME, clear_bits & ~c.MOUNT_ATTR__ATIME
        return set_bits, clear_bits
    if word in _ATIME:
        return set_bits & ~c.MOUNT_ATTR__ATIME | _ATIME[word], clear_bits | c.MOUNT_ATTR__ATIME
    if word in _ATTRIBUTES:
        bit, on = _ATTRIBUTES[word]
        if on:
            return set_bits | bit, clear_bits & ~bit
        return set_bits & ~bit, clear_bits | bit
    return None


def parse_options(options: tuple[str, ...] | list[str]) -> MountOptions:
    """Take `options` apart; later ones win over earlier ones, as with mount(8). Only `rbind` is not
    taken back by a later `bind`: podman writes both, and with runc they mean the whole tree.

    What is no word of the spec is the filesystem's, as with runc: it may refuse it.
    """
    bind = recursive = remount = False
    attr_set = attr_clear = rec_set = rec_clear = old = 0
    propagation: list[int] = []
    data: list[str] = []
    extensions: list[str] = []
    for option in options:
        if option in ("bind", "rbind"):
            bind, recursive = True, recursive or option == "rbind"
        elif option == "remount":
            remount = True
        elif option in _PROPAGATION:
            propagation.append(_PROPAGATION[option])
        elif (plain := _apply(option, attr_set, attr_clear)) is not None:
            attr_set, attr_clear = plain
        elif (
            option[:1] == "r" and (tree := _apply(option[1:], rec_set, rec_clear, True)) is not None
        ):
            rec_set, rec_clear = tree
        elif option in _EXTENSIONS:
            extensions.append(option)
        elif option in _OLD_FLAGS:
            bit, on = _OLD_FLAGS[option]
            old = old | bit if on else old & ~bit
        elif option not in ("defaults", ""):
            data += _PART.findall(option)
    return MountOptions(
        bind, recursive, attr_set, attr_clear, rec_set, rec_clear, tuple(propagation),
        tuple(data), tuple(extensions), remount, old,
    )  # fmt: skip
