"""containerd's metrics of a container on cgroup v2, beside ours."""

from __future__ import annotations

import os
from pathlib import Path

from tests.peers import engines
from tests.peers.counted import compare


def test_we_count_what_containerd_counts(tmp_path: Path) -> None:
    archive = engines.write_image(tmp_path / "image.tar")
    with engines.containerd(Path("/tmp/c"), f"moby-test-{os.getpid()}") as ctr:
        engines.load(ctr, archive)
        compare(ctr, ctr.env["CONTAINERD_METRICS"])
        ctr.ok("task", "rm", "-f", "counted")
        ctr.ok("container", "rm", "counted")
