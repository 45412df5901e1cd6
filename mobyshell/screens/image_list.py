"""The list of images: read when the store says that something happened to it."""

from __future__ import annotations

from collections.abc import Sequence

from mobyshell.moby.survey import ImageInfo
from mobyshell.screens.image_rows import IMAGES, image_rows
from mobyshell.screens.live_list import LiveList
from mobyshell.widgets.resource import Row


class ImageList(LiveList[ImageInfo]):
    """Which images there are."""

    SPEC = IMAGES
    TOPICS = ("/images/", "/content/", "/snapshot/")  # whether it is here, and unpacked
    POLL = 30.0

    def read(self) -> list[ImageInfo]:
        return self.session.images.ls()

    def rows(self, infos: Sequence[ImageInfo], now_ns: int) -> Sequence[Row]:
        return image_rows(infos, now_ns)
