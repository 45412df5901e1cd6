"""`Moby.run`: an image run to its end, with nothing left of it, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from mobyshell.core.errors import AlreadyExists, MobyshellError
from mobyshell.core.oci import Spec
from mobyshell.core.runtime.values import Status
from mobyshell.core.store.labels import BOOT
from mobyshell.core.tasks.connect import connect
from mobyshell.moby.client import Moby
from mobyshell.moby.container import with_snapshot_cleanup
from mobyshell.moby.spec_options import Making
from tests.moby.test_client import put_image
from tests.waiting import eventually

pytestmark = pytest.mark.root


def nothing_left(moby: Moby) -> None:
    assert moby.containers() == []
    assert moby.tenant.tasks.ls() == []
    snapshots = moby.tenant.snapshotter()
    assert all(one.name.startswith("sha256:") for one in snapshots.walk())
    place = moby.store.root.snapshots / snapshots.name
    rows = moby.store.database
    with rows.read() as sql:
        known = {str(id) for (id,) in sql.execute("SELECT id FROM trees")}
    assert {one.name for one in place.iterdir()} == known


def test_what_it_writes_is_there_for_itself_and_nobody_else(moby: Moby) -> None:
    image = put_image(moby)
    script = "echo x > /new; cat /new; echo more >&2; exit 3"
    done = moby.run(image, ["sh", "-c", script])
    assert (done.status, done.stdout, done.stderr) == (3, b"x\n", b"more\n")
    nothing_left(moby)
    assert moby.run(image, ["sh", "-c", "test -e /new"]).status == 1
    nothing_left(moby)


def test_much_is_said_whole(moby: Moby) -> None:
    done = moby.run(put_image(moby), ["sh", "-c", "yes | head -c 1000000; exit 4"])
    assert done.status == 4
    assert done.stdout == b"y\n" * 500_000
    nothing_left(moby)


def test_what_cannot_be_run_leaves_nothing(moby: Moby) -> None:
    image = put_image(moby)
    with pytest.raises(MobyshellError, match="no-such-program"):
        moby.run(image, ["no-such-program"])
    nothing_left(moby)
    made = moby.run(image, ["true"], id="same")
    assert made.status == 0


def test_a_name_that_is_taken_runs_nothing(moby: Moby) -> None:
    image = put_image(moby)
    inner: list[BaseException] = []

    def other() -> None:
        try:
            moby.run(image, ["sh", "-c", "exit 1"], id="taken")
        except AlreadyExists as error:
            inner.append(error)

    thread = threading.Thread(target=lambda: moby.run(image, ["sleep", "1000"], id="taken"))
    thread.start()
    eventually(lambda: [one.status for one in moby.tenant.tasks.ls()] == [Status.RUNNING])
    other()
    assert len(inner) == 1
    assert "container taken" in str(inner[0])
    moby.tenant.tasks.kill("taken", signal.SIGKILL)
    thread.join()
    nothing_left(moby)


def test_without_a_pid_namespace_its_files_go_after_its_processes(moby: Moby) -> None:
    def among_others(spec: Spec, _: Making) -> Spec:
        assert spec.linux is not None
        kept = tuple(one for one in spec.linux.namespaces or () if one.type != "pid")
        return replace(spec, linux=replace(spec.linux, namespaces=kept))

    done = moby.run(put_image(moby), ["sh", "-c", "sleep 1000 & echo out"], among_others)
    assert done.stdout == b"out\n"
    nothing_left(moby)


def test_a_shim_that_is_killed_is_not_noticed(moby: Moby) -> None:
    image = put_image(moby)
    done = []
    script = "echo begun; while ! [ -e /go ]; do sleep 0.05; done; echo on; exit 7"
    thread = threading.Thread(
        target=lambda: done.append(moby.run(image, ["sh", "-c", script], id="one"))
    )
    thread.start()
    eventually(lambda: [one.status for one in moby.tenant.tasks.ls()] == [Status.RUNNING])
    connection = connect(moby.state)
    connection.close()
    os.kill(connection.shim_pid, signal.SIGKILL)
    moby.tenant.tasks.exec("one", ["touch", "/go"])
    thread.join(60)
    assert [(one.status, one.stdout) for one in done] == [(7, b"begun\non\n")]
    nothing_left(moby)


CLIENT = """
import sys
from mobyshell.moby.client import Moby

with Moby(sys.argv[1], sys.argv[2], "demo") as moby:
    moby.run("busybox", ["sh", "-c", "echo x > /new; echo up; exec sleep 1000"], id="left")
"""


def test_a_client_that_is_killed_leaves_a_container_like_any_other(moby: Moby) -> None:
    put_image(moby)
    words = [sys.executable, "-c", CLIENT, str(moby.root), moby.state]
    with subprocess.Popen(words) as client:
        eventually(lambda: [one.status for one in moby.tenant.tasks.ls()] == [Status.RUNNING])
        tasks = moby.tenant.tasks
        eventually(lambda: [line.data for line in tasks.logs("left")] == [b"up"])
        client.kill()
    assert tasks.get("left").status is Status.RUNNING
    tasks.delete("left", force=True)
    # it has been mounted in a way that the kernel would not mount again
    container = moby.container("left")
    with container.new_task() as task:
        task.start()
        assert task.exec(["cat", "/new"]).wait().result(60) == 0
    container.delete(with_snapshot_cleanup)
    nothing_left(moby)


def test_it_is_of_this_boot_alone(moby: Moby) -> None:
    """A power cut may leave its rows without its files."""
    put_image(moby)
    words = [sys.executable, "-c", CLIENT, str(moby.root), moby.state]
    with subprocess.Popen(words) as client:
        eventually(lambda: [one.status for one in moby.tenant.tasks.ls()] == [Status.RUNNING])
        client.kill()
    moby.tenant.tasks.delete("left", force=True)
    assert [one.node.kind for one in moby.store.collect().removed] == []
    moby.container("left").set_labels({BOOT: "another"})
    assert {one.node.kind for one in moby.store.collect().removed} == {
        "container", f"snapshot/{moby.tenant.snapshotter().name}",
    }  # fmt: skip
    nothing_left(moby)
