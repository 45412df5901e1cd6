"""How a directory of files says that something of the layers below is deleted. Touches nothing."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    """By overlayfs's means, devices 0:0 and directories with `trusted.overlay.opaque` (OVERLAY_USER:
    `user.overlay.opaque`, where it is mounted with `userxattr`); or by its not being there (FLAT),
    in a directory that holds its parents' files, or has no parents."""

    OVERLAY = "overlay"
    OVERLAY_USER = "overlay-user"
    FLAT = "flat"
