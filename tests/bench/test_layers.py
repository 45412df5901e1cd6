"""Unpacking a layer against tar: that both do it, not how fast."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from mobyshell.bench.layers import OURS, PEER, compare_unpacking, main


@pytest.mark.root
@pytest.mark.peer
def test_both_unpack_and_nothing_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    blob, place = tmp_path / "it's a blob", tmp_path / "place"
    blob.write_bytes(gzip.compress(data.getvalue()))
    place.mkdir()
    result = compare_unpacking(blob, place, 2)
    assert [len(result[name].times) for name in (OURS, PEER)] == [2, 2]
    assert os.listdir(place) == []
    main([str(blob), "--rounds", "1", "--in", str(place)])
    assert "ratio" in capsys.readouterr().out
