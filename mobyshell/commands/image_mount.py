"""`image mount unmount`: an image's files on a directory of the host, without copying them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobyshell.commands.image_transfer import find_image
from mobyshell.commands.registry import FILE, IMAGE, TEXT, WRITE, argument, option, switch, verb
from mobyshell.commands.results import Done

if TYPE_CHECKING:
    from mobyshell.commands.context import Context

N = "image"
_SNAPSHOTTER = option("--snapshotter", "which keeps its tree (default: the best that works here)")


@verb(
    N, "mount", argument("image", IMAGE, "the image"),
    argument("directory", FILE, "where; made if it is not there"),
    switch("--rw", "to be written, too: what is written goes with unmounting", name="writable"),
    option("--platform", "OS/ARCH[/VARIANT] (default: this machine's)", TEXT), _SNAPSHOTTER,
    effect=WRITE, example="image mount alpine mnt",
)  # fmt: skip
def mount(
    ctx: Context, *, image: str, directory: str, writable: bool, platform: str | None,
    snapshotter: str | None,
) -> Done:  # fmt: skip
    """Mount an image's files on a directory; as a view, which cannot be written.

    They are unpacked first, if they are not. A snapshot named like the directory keeps them until
    `image unmount`. Setuid programs and devices in there are of no effect.
    """
    from mobyshell.commands.mounted_views import mount_upon

    found = find_image(ctx, image, platform)
    snapshots = found.tenant.snapshotter(snapshotter or "")
    found.unpack(snapshots.name)
    target = mount_upon(ctx, snapshots, found.chain_id, directory, writable=writable)
    return Done(str(target), said=f"`mobyshell image unmount {directory}` takes it away again")


@verb(
    N, "unmount", argument("directory", FILE, "where an image is mounted"), _SNAPSHOTTER,
    effect=WRITE, example="image unmount mnt",
)  # fmt: skip
def unmount(ctx: Context, *, directory: str, snapshotter: str | None) -> Done:
    """Unmount what `image mount` has mounted, and remove its snapshot."""
    from mobyshell.commands.mounted_views import unmount as take_away

    return take_away(ctx, directory, snapshotter)
