"""The mount options of the runtime spec, taken apart by what the new mount API does with each.

Owns the vocabulary of config.md#linux-mount-options. Pure: touches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from mobyshell.core.linux import constants as c

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
    "relatime": c.MOUNT_ATTR_RELATIME, "norelatime": c.MOUNT_ATTR_STRICTATIME,
    "noatime": c.MOUNT_ATTR_NOATIME, "atime": c.MOUNT_ATTR_RELATIME,
    "strictatime": c.MOUNT_ATTR_STRICTATIME, "nostrictatime": c.MOUNT_ATTR_RELATIME,
}  # fmt: skip

_PROPAGATION: dict[str, int] = {
    "shared": c.MS_SHARED, "rshared": c.MS_SHARED | c.MS_REC,
    "slave": c.MS_SLAVE, "rslave": c.MS_SLAVE | c.MS_REC,
    "private": c.MS_PRIVATE, "rprivate": c.MS_PRIVATE | c.MS_REC,
    "unbindable": c.MS_UNBINDABLE, "runbindable": c.MS_UNBINDABLE | c.MS_REC,
}  # fmt: skip

PROPAGATION = tuple(_PROPAGATION)
"""The names of propagation types, as mounts and `linux.rootfsPropagation` take them."""

# accepted, without effect on what is mounted: mount(8)'s own words, and superblock options that
# the new API takes by name
_IGNORED = frozenset({"defaults", "auto", "noauto", "user", "nouser", "owner", "nofail", "_netdev"})


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Options of one mount. `attr_*` are MOUNT_ATTR bits, `rec_*` those for the whole tree.

    `propagation` is MS_SHARED … with MS_REC, in the order given; `data` are the filesystem's own
    options, `extensions` those that only a runtime understands (`tmpcopyup`, `idmap`, `ridmap`).
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

    @property
    def read_only(self) -> bool:
        return bool(self.attr_set & c.MOUNT_ATTR_RDONLY)


def names() -> tuple[str, ...]:
    """Every option that means something here, in alphabetical order."""
    plain = {*_ATTRIBUTES, *_ATIME}
    whole_tree = {f"r{name}" for name in plain}
    return tuple(sorted({"bind", "rbind", "defaults", *plain, *whole_tree, *_PROPAGATION}))


def propagation_flags(name: str) -> int:
    """The MS_ flags of a propagation name. KeyError for another word."""
    return _PROPAGATION[name]


def _apply(word: str, set_bits: int, clear_bits: int) -> tuple[int, int] | None:
    if word in _ATIME:
        return set_bits & ~c.MOUNT_ATTR__ATIME | _ATIME[word], clear_bits | c.MOUNT_ATTR__ATIME
    if word in _ATTRIBUTES:
        bit, on = _ATTRIBUTES[word]
        if on:
            return set_bits | bit, clear_bits & ~bit
        return set_bits & ~bit, clear_bits | bit
    return None


def parse_options(options: tuple[str, ...] | list[str]) -> MountOptions:
    """Take `options` apart; later ones win over earlier ones, as with mount(8)."""
    bind = recursive = False
    attr_set = attr_clear = rec_set = rec_clear = 0
    propagation: list[int] = []
    data: list[str] = []
    extensions: list[str] = []
    for option in options:
        if option in ("bind", "rbind"):
            bind, recursive = True, option == "rbind"
        elif option in _PROPAGATION:
            propagation.append(_PROPAGATION[option])
        elif (plain := _apply(option, attr_set, attr_clear)) is not None:
            attr_set, attr_clear = plain
        elif option[:1] == "r" and (tree := _apply(option[1:], rec_set, rec_clear)) is not None:
            rec_set, rec_clear = tree
        elif option in ("tmpcopyup", "idmap", "ridmap", "copy-symlink"):
            extensions.append(option)
        elif option not in _IGNORED and option:
            data.append(option)
    return MountOptions(
        bind, recursive, attr_set, attr_clear, rec_set, rec_clear, tuple(propagation),
        tuple(data), tuple(extensions),
    )  # fmt: skip
