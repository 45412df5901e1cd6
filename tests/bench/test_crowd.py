"""A crowd of images and containers, here of a few."""

from __future__ import annotations

from pathlib import Path

from mobyshell.bench.crowd import measure_crowd


def test_each_line_is_measured_against_its_limit(tmp_path: Path) -> None:
    images, containers, one, memory = measure_crowd(tmp_path / "root", 20, 3)
    assert images.name == "of 20 images and as many containers: all images listed"
    assert (images.peer, containers.peer, one.peer) == (
        "at most: 100 ms", "at most: 100 ms", "at most: 5 ms"
    )  # fmt: skip
    for line, limit in ((images, 100), (containers, 100), (one, 5)):
        assert line.ratio is not None
        assert abs(line.ratio * limit - float(line.value.split()[0])) < 0.01
        assert line.goal == 1
    assert memory.ratio is not None
    assert memory.ratio > 0.5
