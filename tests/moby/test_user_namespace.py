"""Containers of one image, some with a user namespace: to each its files are its own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.moby.client import Moby
from mobyshell.moby.container import (
    with_image,
    with_new_snapshot,
    with_new_spec,
    with_remapped_snapshot,
    with_snapshot_cleanup,
    with_snapshotter,
)
from mobyshell.moby.spec_options import with_args, with_image_config, with_user_namespace
from mobyshell.moby.task import streams
from tests.moby.test_client import PATIENCE, lines, put_image

pytestmark = pytest.mark.root

SCRIPT = "ls -ld /bin; echo x > /bin/new; ls -l /bin/new; id -u; cat /proc/self/uid_map"


@pytest.mark.parametrize("snapshotter", sorted(DRIVERS))
def test_the_image_belongs_to_root_in_there(moby: Moby, snapshotter: str) -> None:
    image = put_image(moby)
    said = {}
    for host_id in (0, 100_000):
        out, errors = io.BytesIO(), io.BytesIO()
        snapshot, options = with_new_snapshot("box", image), []
        if host_id:
            snapshot = with_remapped_snapshot("box", image, host_id)
            options = [with_user_namespace(host_id)]
        container = moby.new_container(
            "box", with_snapshotter(snapshotter), with_image(image), snapshot,
            with_new_spec(with_image_config(), with_args("sh", "-c", SCRIPT), *options),
        )  # fmt: skip
        with container.new_task(streams(stdout=out, stderr=errors)) as task:
            exited = task.wait()
            task.start()
            assert exited.result(PATIENCE) == 0, errors.getvalue()
        said[host_id] = [" ".join(line.split()[2:4]) if line.startswith(("d", "-")) else line.strip()
                         for line in lines(out)]  # fmt: skip
        own = moby.tenant.snapshotter(snapshotter).directories("box").directory
        assert (own / "bin/new").stat().st_uid == host_id
        container.delete(with_snapshot_cleanup)
    assert said[0][:3] == ["root root", "root root", "0"] == said[100_000][:3]
    assert said[100_000][3].split() == ["0", "100000", "65536"]
    below = moby.tenant.snapshotter(snapshotter).directories(image.chain_id).directory
    assert (below / "bin").stat().st_uid == 0
    assert not Path(below / "bin/new").exists()
