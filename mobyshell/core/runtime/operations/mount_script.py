"""The entries of `mounts` as lines of the script: what mount(8) does with them. Pure."""

from __future__ import annotations

from mobyshell.core.linux.mount_options import PROPAGATION, MountOptions
from mobyshell.core.oci import Mount
from mobyshell.core.runtime.operations.calls import inside, quote

# only a runtime knows them; mount(8) would hand them to the filesystem
_OURS = ("tmpcopyup", "copy-symlink", "idmap", "ridmap")

_RECURSIVE = (
    "ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "nodiratime",
    "relatime", "norelatime", "strictatime", "nosymfollow", "symfollow",
)  # fmt: skip


def _words(entry: Mount) -> tuple[list[str], list[str], list[str]]:
    """(options of mount(8), those for the whole tree, names of propagation)."""
    others, tree, propagation = [], [], []
    for word in entry.options or ():
        if word in PROPAGATION:
            propagation.append(word)
        elif word[:1] == "r" and word[1:] in _RECURSIVE:
            tree.append(word[1:])
        elif word not in ("bind", "rbind", *_OURS):
            others.append(word)
    return others, tree, propagation


def shell_filesystem(entry: Mount, options: MountOptions, kind: str) -> tuple[str, ...]:
    """A new filesystem; what is in the way of it copied into it first with `tmpcopyup`."""
    target = inside(entry.destination)
    others, tree, propagation = _words(entry)
    others += tree  # of one mount
    copied = kind == "tmpfs" and "tmpcopyup" in options.extensions
    if copied:
        others = [word for word in others if word not in ("ro", "rw")]
    mode, data = "", f"-o {quote(','.join(others))} " if others else ""
    if kind == "tmpfs" and not any(word.startswith("mode=") for word in options.data):
        # one that was there already keeps its mode
        mode = f"mode=$(stat -c %a {target} 2>/dev/null || echo 1777); "
        data = f'-o {quote(",".join([*others, "mode="]))}"$mode" '
    mounted = f"mount -t {quote(kind)} {data}{quote(entry.source or kind)} {target}"
    spread = [f"mount --make-{word} {target}" for word in propagation]
    if not copied:
        return (f"{mode}mkdir -p {target}", mounted, *spread)
    return (
        f"{mode}mkdir -p {target}",
        'mkdir -p "$gate/copied"; mount -t tmpfs tmpfs "$gate/copied"',
        f'cp -a {target}/. "$gate/copied/"',
        mounted,
        f'cp -a "$gate/copied/." {target}/; umount "$gate/copied"',
        *([f"mount -o remount,bind,ro {target}"] if options.read_only else []),
        *spread,
    )


def shell_bind(entry: Mount, options: MountOptions, origin: str) -> tuple[str, ...]:
    """A bind, its options by a remount, its propagation one by one."""
    target = inside(entry.destination)
    make = (
        f"if [ -d {quote(origin)} ]; then mkdir -p {target}; else "
        f'mkdir -p "$(dirname {target})"; [ -e {target} ] || : > {target}; fi'
    )
    kind = "--rbind" if options.recursive else "--bind"
    lines = [make, f"mount {kind} {quote(origin)} {target}"]
    others, tree, propagation = _words(entry)
    if others:
        lines.append(f"mount -o remount,bind,{quote(','.join(others))} {target}")
    if tree:
        # mount(8) knows `ro=recursive` only since util-linux 2.39
        change = f'mount -o remount,bind,{quote(",".join(tree))} "$one"'
        lines.append(
            f"findmnt -R -n -l -o TARGET {target} | while IFS= read -r one; do {change}; done"
        )
    lines += [f"mount --make-{word} {target}" for word in propagation]
    if "copy-symlink" not in options.extensions:
        return tuple(lines)
    copy = (
        f'mkdir -p "$(dirname {target})"; '
        f'[ -L {target} ] || [ -e {target} ] || ln -s "$(readlink {quote(origin)})" {target}'
    )
    return (f"if [ -L {quote(origin)} ]; then {copy}; else {'; '.join(lines)}; fi",)
