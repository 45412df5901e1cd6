"""The plan in C: it runs, and leaves nothing."""

from __future__ import annotations

import os

import pytest

from mobyshell.bench.workshop import workshop
from mobyshell.bench.yardstick import yardstick
from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import cgroups


@pytest.mark.root
@pytest.mark.peer
def test_the_plan_in_c_runs_the_container_and_tells_when_it_fails() -> None:
    with workshop() as shop:
        run = yardstick(shop, shop.with_args("true", "/bin/true"))
        run()
        run()
        assert not os.path.exists(shop.directory / "yardstick" / "fifo")
        for path in cgroups.detect().own.values():
            assert not [one for one in os.listdir(path) if one.endswith("-yardstick")]
        (shop.directory / "yardstick" / "fifo").touch()
        with pytest.raises(MobyshellError, match="exited with 101"):
            run()
