"""The client against a real store, a real shim and real containers."""

from __future__ import annotations

import asyncio
import io
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound, UsageError, WrongState
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.platform import host_platform
from mobyshell.moby import container as containers
from mobyshell.moby.around import around
from mobyshell.moby.asynchronous import AsyncMoby
from mobyshell.moby.client import Moby
from mobyshell.moby.container import (
    with_image,
    with_labels,
    with_new_snapshot,
    with_new_snapshot_view,
    with_new_spec,
    with_runtime,
    with_snapshot_cleanup,
)
from mobyshell.moby.image import Image
from mobyshell.moby.spec_options import with_cpus, with_env, with_image_config, with_user
from mobyshell.moby.task import stdio, streams, terminal
from tests.core.store import images

pytestmark = pytest.mark.root

NAME = "docker.io/library/busybox:latest"
BUSYBOX = Path("/bin/busybox").read_bytes()
PATIENCE = 60


def busybox_layer() -> bytes:
    """A layer with busybox, its shell, and accounts."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:

        def add(name: str, content: bytes = b"", mode: int = 0o644, **more: Any) -> None:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            for key, value in more.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))

        for name in ("bin", "etc", "proc", "dev", "sys", "tmp", "run"):
            add(name, mode=0o755, type=tarfile.DIRTYPE)
        add("bin/busybox", BUSYBOX, 0o755)
        for name in ("sh", "echo", "cat", "id", "sleep", "true", "false", "touch", "stty", "ls"):
            add(f"bin/{name}", type=tarfile.SYMTYPE, linkname="busybox")
        add("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n")
        add("etc/group", b"root:x:0:\nwww:x:34:\nlogs:x:40:web\n")
    return data.getvalue()


def put_image(moby: Moby, name: str = NAME, **config: Any) -> Image:
    """Have an image with busybox in the current namespace."""
    content = moby.tenant.store.content
    tar = busybox_layer()
    layer = images.put(content, tar, "application/vnd.oci.image.layer.v1.tar")
    platform = host_platform()
    told = images.put_json(content, {
        "architecture": platform.architecture, "os": "linux",
        "config": {"Cmd": ["sh", "-c", "echo default"], "Env": ["PATH=/bin", "A=1"], **config},
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(tar)]},
    }, images.CONFIG)  # fmt: skip
    target = images.put_json(content, {
        "schemaVersion": 2, "mediaType": images.MANIFEST, "config": images.plain(told),
        "layers": [images.plain(layer)],
    }, images.MANIFEST)  # fmt: skip
    moby.tenant.store.images.put(name, target)
    return moby.image(name)


def lines(data: io.BytesIO) -> list[str]:
    return data.getvalue().decode().splitlines()


def test_the_seed_example(moby: Moby) -> None:
    put_image(moby)
    with moby.namespace("example"):
        put_image(moby, "docker.io/library/redis:alpine", Cmd=["sh", "-c", "echo up; sleep 600"])
        image = moby.image("redis:alpine")
        out = io.BytesIO()
        container = moby.new_container(
            "redis-server",
            with_image(image),
            with_new_snapshot("redis-server-snapshot", image),
            with_new_spec(with_image_config()),
        )
        with container.new_task(streams(stdout=out)) as task:
            exited = task.wait()
            task.start()
            assert task.status == "running"
            task.kill(signal.SIGKILL)
            assert exited.result(PATIENCE) == 128 + signal.SIGKILL
            assert task.delete() == 128 + signal.SIGKILL
        container.delete(with_snapshot_cleanup)
        assert moby.containers() == []
        with pytest.raises(NotFound):
            moby.tenant.snapshotter().stat("redis-server-snapshot")


def run(
    moby: Moby, *args: str, id: str = "c", user: str = "", **more: Any
) -> tuple[int, list[str]]:
    """Exit status and output of a container of the image."""
    image, out = moby.image("busybox"), io.BytesIO()
    options = [
        with_image_config(*args),
        *([with_user(user)] if user else []),
        *more.get("spec", ()),
    ]
    container = moby.new_container(
        id, with_image(image), with_new_snapshot(f"{id}-files", image), with_new_spec(*options),
        *more.get("options", ()),
    )  # fmt: skip
    try:
        with container.new_task(streams(stdout=out, stderr=out)) as task:
            exited = task.wait()
            task.start()
            status = exited.result(PATIENCE)
    finally:
        container.delete(with_snapshot_cleanup)
    return status, lines(out)


def test_what_the_image_says_is_run(moby: Moby) -> None:
    put_image(moby)
    assert run(moby) == (0, ["default"])
    assert run(moby, "sh", "-c", "echo $A; exit 7") == (7, ["1"])
    assert run(moby, "id", user="web")[1] == ["uid=33(web) gid=34(www) groups=34(www),40(logs)"]
    assert run(moby, "sh", "-c", "echo $A", spec=[with_env("A=2")])[1] == ["2"]


@pytest.mark.peer
@pytest.mark.parametrize("name", ["runc"])
def test_another_runtime_runs_it(moby: Moby, name: str) -> None:
    put_image(moby)
    assert run(moby, "echo", "by another", options=[with_runtime(name)]) == (0, ["by another"])


def test_containers_of_one_image_do_not_see_each_other(moby: Moby) -> None:
    put_image(moby)
    image = moby.image("busybox")
    tasks = []
    for number in range(3):
        container = moby.new_container(
            f"c{number}", with_image(image), with_new_snapshot(f"s{number}", image),
            with_new_spec(with_image_config("sh", "-c", f"touch /made-{number}; sleep 600")),
        )  # fmt: skip
        tasks.append(container.new_task())
        tasks[-1].start()
    for number, task in enumerate(tasks):
        process = task.exec(["sh", "-c", "while ! ls /made-*; do :; done 2>/dev/null"])
        assert process.wait().result(PATIENCE) == 0
        made = io.BytesIO()
        again = task.exec(["sh", "-c", "echo /made-*"], streams(stdout=made))
        assert again.wait().result(PATIENCE) == 0
        assert lines(made) == [f"/made-{number}"]
    for task in tasks:
        task.delete(force=True)
    # the image's own files are as they were
    view = moby.new_container(
        "view", with_image(image), with_new_snapshot_view("v", image),
        with_new_spec(with_image_config("touch", "/x")),
    )  # fmt: skip
    with view.new_task() as task:
        exited = task.wait()
        task.start()
        assert exited.result(PATIENCE) == 1


def test_tenants_see_nothing_of_each_other(moby: Moby) -> None:
    put_image(moby)
    with moby.namespace("other"):
        assert moby.images() == []
        with pytest.raises(NotFound) as caught:
            moby.image("busybox")
        assert "demo" in caught.value.hint
        put_image(moby)
        image = moby.image("busybox")
        moby.new_container("c", with_image(image), with_new_spec(with_image_config()))
    assert moby.containers() == []
    found: list[str] = []

    def elsewhere() -> None:
        found.append(moby.current)

    with moby.namespace("other"):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert found == ["demo"]  # of a thread its own


def test_what_fails_leaves_nothing(moby: Moby) -> None:
    image = put_image(moby)
    with pytest.raises(NotFound):
        moby.new_container(
            "c", with_image(image), with_new_snapshot("s", image),
            with_new_spec(with_image_config(), with_user("nobody-there")),
        )  # fmt: skip
    assert moby.containers() == []
    with pytest.raises(NotFound):
        moby.tenant.snapshotter().stat("s")
    moby.new_container("c", with_new_spec(with_image_config("true")))
    with pytest.raises(AlreadyExists):
        moby.new_container("c", with_new_spec(with_image_config("true")))


def test_a_container_with_a_task_stays(moby: Moby) -> None:
    image = put_image(moby)
    container = moby.new_container(
        "c", with_image(image), with_new_snapshot("s", image), with_labels({"app": "web"}),
        with_new_spec(with_image_config("sleep", "600")),
    )  # fmt: skip
    with container.new_task() as task:
        task.start()
        with pytest.raises(WrongState, match="has a task"):
            container.delete(with_snapshot_cleanup)
        with pytest.raises(AlreadyExists):
            container.new_task()
    assert [one.id for one in moby.containers("labels.app==web")] == ["c"]
    assert container.set_labels({"app": None, "b": "c"}) == {"b": "c"}
    container.delete(with_snapshot_cleanup)


def test_one_that_is_removed_while_it_is_started_is_said_to_be_gone(
    moby: Moby, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = put_image(moby)
    container = moby.new_container(
        "c", with_image(image), with_new_snapshot("s", image),
        with_new_spec(with_image_config("true")),
    )  # fmt: skip

    @contextmanager
    def meanwhile(*args: Any) -> Iterator[str]:
        with around(*args) as text:
            container.delete(with_snapshot_cleanup)
            yield text

    monkeypatch.setattr(containers, "around", meanwhile)
    with pytest.raises(NotFound, match="no container c "):
        container.new_task()


def test_streams_go_both_ways(moby: Moby, tmp_path: Path) -> None:
    image = put_image(moby)
    container = moby.new_container(
        "c", with_image(image), with_new_snapshot("s", image), with_new_spec(with_image_config("cat"))
    )  # fmt: skip
    out = io.BytesIO()
    (tmp_path / "in").write_bytes(b"heard\n" * 1000)
    with open(tmp_path / "in", "rb") as source, container.new_task(streams(source, out)) as task:
        exited = task.wait()
        task.start()
        assert exited.result(PATIENCE) == 0
    assert out.getvalue() == b"heard\n" * 1000
    shown = io.BytesIO()
    sleeper = moby.new_container("d", with_image(image), with_new_snapshot("t", image),
                                 with_new_spec(with_image_config("sleep", "600")))  # fmt: skip
    with sleeper.new_task() as task:
        task.start()
        process = task.exec(["stty", "size"], terminal(stdout=shown, rows=7, columns=9))
        assert process.wait().result(PATIENCE) == 0
    assert shown.getvalue().strip() == b"7 9"


def test_stdio_is_ours(moby: Moby, tmp_path: Path) -> None:
    """As the seed example has it, in a program of its own."""
    put_image(moby)
    script = tmp_path / "example.py"
    script.write_text(f"""
from mobyshell import Moby, with_image, with_image_config, with_new_snapshot, with_new_spec, stdio

with Moby({str(moby.root)!r}, {moby.state!r}) as client, client.namespace("demo"):
    image = client.image("docker.io/library/busybox:latest")
    container = client.new_container(
        "example", with_image(image), with_new_snapshot("example-files", image),
        with_new_spec(with_image_config("sh", "-c", "echo out; echo err >&2; exit 3")),
    )
    with container.new_task(stdio()) as task:
        exited = task.wait()
        task.start()
        code = exited.result()
    raise SystemExit(code)
""")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert stdio().stdout is not None


def test_the_same_in_an_event_loop(moby: Moby) -> None:
    put_image(moby)

    async def main() -> tuple[int, list[bytes]]:
        async with AsyncMoby(moby.root, moby.state) as client:
            with client.namespace("demo"):
                image = await client.image("busybox")
                container = await client.new_container(
                    "c", with_image(image), with_new_snapshot("s", image),
                    with_new_spec(with_image_config("sh", "-c", "echo in a loop; exit 4")),
                )  # fmt: skip
                async with await container.new_task() as task:
                    exited = asyncio.create_task(task.wait())
                    await task.start()
                    status = await exited
                    said = [line.data async for line in task.logs()]
                await container.delete(with_snapshot_cleanup)
                return status, said

    assert asyncio.run(main()) == (4, [b"in a loop"])


def test_an_image_for_another_machine_is_named(moby: Moby) -> None:
    target = images.image(moby.tenant.store.content, architecture="s390x")
    moby.tenant.store.images.put(NAME, target)
    with pytest.raises(MobyshellError, match="no image for"):
        _ = moby.image("busybox").config


def test_an_image_that_was_removed_meanwhile_is_named(moby: Moby) -> None:
    image = put_image(moby)
    image.delete()
    with moby.store.database.write() as sql:  # as a collection does, an hour later
        sql.execute("DELETE FROM content")
    with pytest.raises(NotFound, match=r"no image docker\.io/library/busybox:latest"):
        _ = image.config


def test_any_file_of_bytes_can_be_its_input(moby: Moby, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"said\n")
    put_image(moby)
    with path.open("rb") as buffered, path.open("rb", buffering=0) as raw:
        for source in (buffered, raw, io.BytesIO(b"said\n")):
            assert moby.run("busybox", ["cat"], stdin=source).stdout == b"said\n"


def test_what_is_easily_mistaken_is_said(moby: Moby) -> None:
    put_image(moby)
    with pytest.raises(UsageError, match="a list of words, not a text: 'echo hi'") as told:
        moby.run("busybox", "echo hi")
    assert "['echo', 'hi']" in told.value.hint
    with pytest.raises(UsageError, match="stdout is a file of text"):
        streams(stdout=sys.stdout)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="0-1 processors"):
        moby.run("busybox", ["true"], with_cpus("0-1"))  # type: ignore[arg-type]
    assert moby.containers() == []


def test_a_task_is_found_again_with_its_streams_and_signals_have_names(moby: Moby) -> None:
    image = put_image(moby)
    script = "trap 'echo ended; exit 5' USR1; echo up; while :; do sleep 0.1; done"
    container = moby.new_container(
        "c", with_image(image), with_new_snapshot("c", image),
        with_new_spec(with_image_config("sh", "-c", script)),
    )  # fmt: skip
    with container.new_task() as first:
        first.start()
        assert next(first.logs(follow=True)).data == b"up"
        out = io.BytesIO()
        task = container.task(streams(stdout=out))
        with pytest.raises(UsageError, match="no signal 'NONE'"):
            task.kill("NONE")
        exited = task.wait()
        task.kill("USR1")
        assert exited.result(PATIENCE) == 5
        assert lines(out)[-1] == "ended"
