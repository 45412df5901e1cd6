"""checkpoint and restore, around criu: what it is asked, and what becomes of the container.

On most machines of tests no criu works, so one stands in (`stand_in_criu`); a real one is tried in
tests/peers/inside.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.checkpoint.criu.messages import Ask
from tests.runc.conftest import Machine, containers, message
from tests.waiting import eventually

pytestmark = pytest.mark.root

NET = 0x40000000
Document = dict[str, Any]


@dataclass
class Criu:
    """The stand-in: what it is to do, and what it has heard."""

    machine: Machine
    directory: Path
    path: Path
    images: Path

    def plan(self, **values: Any) -> None:
        (self.directory / "plan.json").write_text(json.dumps(values))
        (self.directory / "heard.json").write_text("")

    def heard(self) -> list[Document]:
        return [json.loads(one) for one in (self.directory / "heard.json").read_text().splitlines()]

    def asked(self, kind: Ask) -> Document:
        """The one request of a kind."""
        (found,) = [
            one["asked"] for one in self.heard() if "asked" in one and one["asked"]["type"] == kind
        ]
        return dict(found)

    def told(self, name: str) -> Any:
        return next(one[name] for one in self.heard() if name in one)

    def words(self, command: str, *words: str) -> list[str]:
        return ["--criu", str(self.path), command, "--image-path", str(self.images), *words]


@pytest.fixture
def criu(ours: Machine, tmp_path: Path) -> Criu:
    directory = tmp_path / "criu"
    directory.mkdir()
    script = directory / "stand_in_criu.py"
    shutil.copy(Path(__file__).with_name("stand_in_criu.py"), script)
    path = directory / "criu"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    path.chmod(0o755)
    made = Criu(ours, directory, path, tmp_path / "images")
    made.plan()
    return made


def test_it_is_gone_afterwards(ours: Machine, criu: Criu, tmp_path: Path) -> None:
    work = tmp_path / "work" / "deep"
    pid = ours.background("c")
    ours.ok(*criu.words("checkpoint", "--work-path", str(work), "c"))
    assert containers(ours.root) == []
    assert not os.path.exists(f"/proc/{pid}/root/proc")
    asked = criu.asked(Ask.DUMP)["opts"]
    assert (criu.told("images"), criu.told("work")) == (str(criu.images), str(work))
    assert asked["pid"] == pid
    assert asked["root"] == str(ours.rootfs)
    assert asked["log_file"] == "dump.log"
    assert asked["empty_ns"] == NET
    assert asked["orphan_pts_master"]
    assert asked["notify_scripts"]
    assert asked["manage_cgroups_mode"] == 6
    assert asked["config_file"] == "/etc/criu/runc.conf"
    assert os.path.basename(asked["freeze_cgroup"]).endswith("-c")
    assert json.loads((criu.images / "descriptors.json").read_text()) == ["/dev/null"] * 3
    assert "does not exist" in ours.fails("state", "c")


def test_whoever_waits_for_it_is_told(ours: Machine, criu: Criu) -> None:
    ours.spec("sleep", "1000")
    null = subprocess.DEVNULL
    waiting = subprocess.Popen(
        ours.words("run", "c"), cwd=ours.bundle, env=ours.environment, stdin=null, stdout=null,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    eventually(lambda: ours.call("state", "c").returncode == 0 and ours.status("c") == "running")
    ours.ok(*criu.words("checkpoint", "c"))
    _, said = waiting.communicate(timeout=60)
    assert (waiting.returncode, said) == (128 + 9, b"")


def test_it_goes_on(ours: Machine, criu: Criu) -> None:
    pid = ours.background("c")
    ours.ok(*criu.words("checkpoint", "--leave-running", "c"))
    assert (ours.status("c"), ours.state("c")["pid"]) == ("running", pid)
    assert criu.asked(Ask.DUMP)["opts"]["leave_running"]


def test_memory_beforehand(ours: Machine, criu: Criu) -> None:
    ours.background("c")
    words = criu.words("checkpoint", "--pre-dump", "c")
    assert "criu is missing features: [MemTrack]" in ours.fails(*words)
    criu.plan(features={"mem_track": True})
    ours.ok(*words)
    assert ours.status("c") == "running"
    assert criu.asked(Ask.PRE_DUMP)["opts"].get("ext_mnt") is None
    (criu.images / "first").mkdir()
    criu.plan(features={"mem_track": True})
    ours.ok(*criu.words("checkpoint", "--parent-path", "first", "c"))
    asked = criu.asked(Ask.DUMP)["opts"]
    assert (asked["parent_img"], asked["track_mem"]) == ("first", True)


def test_every_flag_is_passed_on(ours: Machine, criu: Criu) -> None:
    ours.background("c")
    criu.plan(features={"lazy_pages": True})
    reading, writing = os.pipe()
    try:
        ours.ok(
            *criu.words(
                "checkpoint", "--leave-running", "--tcp-established", "--tcp-skip-in-flight",
                "--link-remap", "--ext-unix-sk", "--shell-job", "--file-locks", "--lazy-pages",
                "--auto-dedup", "--status-fd", str(writing), "--page-server", "127.0.0.1:7",
                "--manage-cgroups-mode", "full", "--empty-ns", "network", "c",
            ),
            pass_fds=(writing,),
        )  # fmt: skip
        os.close(writing)
        writing = -1
        assert os.read(reading, 10) == b"\0"
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    asked = criu.asked(Ask.DUMP)["opts"]
    names = ("leave_running", "tcp_established", "tcp_skip_in_flight", "link_remap", "ext_unix_sk",
             "shell_job", "file_locks", "lazy_pages", "auto_dedup")  # fmt: skip
    assert all(asked[name] for name in names)
    assert asked["ps"] == {"address": "127.0.0.1", "port": 7}
    assert asked["manage_cgroups_mode"] == 4
    assert "status_fd" not in asked


def test_what_is_the_hosts_has_a_name(ours: Machine, criu: Criu, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()

    def change(document: Document) -> None:
        document["mounts"].append(
            {"destination": "/mnt", "type": "bind", "source": str(tmp_path / "data"),
             "options": ["bind"]}
        )  # fmt: skip
        document["linux"]["maskedPaths"] = ["/proc/keys", "/proc/acpi", "/proc/nothing"]
        document["annotations"] = {"org.criu.config": "/etc/other.conf"}

    ours.spec("sleep", "1000", change=change)
    ours.quiet("run", "-d", "c")
    ours.ok(*criu.words("checkpoint", "c"))
    asked = criu.asked(Ask.DUMP)["opts"]
    pairs = {one["key"]: one["val"] for one in asked["ext_mnt"]}
    assert pairs["/mnt"] == "/mnt"
    assert pairs["/proc/keys"] == "/dev/null"
    assert not {"/proc/nothing", "/proc"} & set(pairs)
    assert asked["config_file"] == "/etc/other.conf"
    criu.plan()
    ours.quiet(*criu.words("restore", "-d", "c"))
    asked = criu.asked(Ask.RESTORE)["opts"]
    pairs = {one["key"]: one["val"] for one in asked["ext_mnt"]}
    assert (pairs["/mnt"], pairs["/dev/null"]) == (str(tmp_path / "data"), "/dev/null")


def test_joined_namespaces(ours: Machine, criu: Criu) -> None:
    def change(document: Document) -> None:
        for one in document["linux"]["namespaces"]:
            if one["type"] in ("network", "uts"):
                short = {"network": "net"}.get(one["type"], one["type"])
                one["path"] = f"/proc/{os.getpid()}/ns/{short}"
        document.pop("hostname", None)

    ours.spec("sleep", "1000", change=change)
    ours.quiet("run", "-d", "c")
    ours.ok(*criu.words("checkpoint", "c"))
    inode = os.stat("/proc/self/ns/net").st_ino
    assert criu.asked(Ask.DUMP)["opts"]["external"] == [f"net[{inode}]:extRootNetNS"]
    criu.plan()
    ours.quiet(*criu.words("restore", "-d", "c"))
    asked = criu.asked(Ask.RESTORE)["opts"]
    assert {"key": "extRootNetNS", "fd": 4} in asked["inherit_fd"]
    assert asked["join_ns"] == [{"ns": "uts", "ns_file": f"/proc/{os.getpid()}/ns/uts"}]


def test_states_it_cannot_be_in(ours: Machine, criu: Criu) -> None:
    assert "container does not exist" in ours.fails(*criu.words("checkpoint", "c"))
    ours.spec("true")
    ours.quiet("create", "c")
    said = ours.fails(*criu.words("checkpoint", "c"))
    assert said == "Container cannot be checkpointed in created state"
    ours.ok("start", "c")
    eventually(lambda: ours.status("c") == "stopped")
    said = ours.fails(*criu.words("checkpoint", "c"))
    assert said == "Container cannot be checkpointed in stopped state"
    assert criu.heard() == []


def test_a_paused_one(ours: Machine, criu: Criu) -> None:
    ours.background("c")
    ours.ok("pause", "c")
    ours.ok(*criu.words("checkpoint", "c"))
    assert containers(ours.root) == []


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (("--empty-ns", "pid"), 'namespace "pid" is not supported'),
        (("--manage-cgroups-mode", "most"), "invalid manage-cgroups-mode value"),
        (("--parent-path", "/abs"), "--parent-path must be relative"),
        (("--parent-path", "none"), "invalid --parent-path: stat"),
        (("--page-server", "host"), "Use --page-server ADDRESS:PORT to specify page server"),
        (("--page-server", "host:99999"), "Invalid port number"),
    ],
)
def test_wrong_words(ours: Machine, criu: Criu, flag: tuple[str, str], said: str) -> None:
    ours.background("c")
    assert said in ours.fails(*criu.words("checkpoint", *flag, "c"))
    assert ours.status("c") == "running"


def test_a_dump_that_fails(ours: Machine, criu: Criu) -> None:
    ours.background("c")
    criu.plan(fail="Can't dump that", errno=52)
    done = ours.call(*criu.words("checkpoint", "c"))
    assert done.returncode == 1
    assert message(done.stderr) == "criu failed: type DUMP errno 52: Can't dump that"
    assert f'--- Quoting \\"{criu.images}/dump.log\\"' in done.stderr
    assert "2:(0.2) Error (criu/x.c:1): Can't dump that" in done.stderr
    assert ours.status("c") == "running"


def test_no_criu(ours: Machine, criu: Criu) -> None:
    ours.background("c")
    said = ours.fails("--criu", "/no/criu", "checkpoint", "c")
    assert 'CRIU version check failed: exec: "/no/criu": executable file not found' in said
    assert "apt install criu" in said
    assert ours.status("c") == "running"


def test_a_criu_that_does_not_work_here(ours: Machine, criu: Criu) -> None:
    ours.background("c")
    criu.path.write_text("#!/bin/sh\necho 'Error (criu/vdso.c:1): vdso: unexpected' >&2\nexit 1\n")
    for words in (["checkpoint", "c"], ["restore", "-d", "d"]):
        said = ours.fails(*criu.words(*words))
        assert f"{criu.path} does not work on this machine: vdso: unexpected" in said
        assert "`criu check`" in said
    criu.plan(version=[2, 12])
    assert ours.status("c") == "running"
    assert containers(ours.root) == ["c"]


def test_one_whose_check_says_the_same(ours: Machine, criu: Criu) -> None:
    ours.background("c")
    criu.plan(fail="no such kernel", check="Error (criu/k.c:1): no such kernel\n")
    said = ours.fails(*criu.words("checkpoint", "c"))
    assert f"{criu.path} does not work on this machine: no such kernel" in said


def test_devices_of_the_host_in_a_user_namespace(ours: Machine, criu: Criu) -> None:
    def change(document: Document) -> None:
        ids = [{"containerID": 0, "hostID": 0, "size": 1000}]
        document["linux"]["namespaces"].append({"type": "user"})
        document["linux"].update(uidMappings=ids, gidMappings=ids)

    ours.spec("sleep", "1000", change=change)
    ours.quiet("run", "-d", "c")
    ours.ok(*criu.words("checkpoint", "c"))
    pairs = {one["key"]: one["val"] for one in criu.asked(Ask.DUMP)["opts"]["ext_mnt"]}
    assert {"/dev/null", "/dev/tty", "/dev/urandom"} <= set(pairs)


def test_one_that_is_too_old(ours: Machine, criu: Criu) -> None:
    ours.background("c")
    criu.plan(version=[2, 12])
    said = ours.fails(*criu.words("checkpoint", "c"))
    assert "checkpoint and restore needs CRIU 3.0, and this is 2.12" in said


def _images(criu: Criu) -> None:
    """As a checkpoint leaves them, as far as the stand-in needs them."""
    criu.images.mkdir(exist_ok=True)
    (criu.images / "descriptors.json").write_text('["/dev/null", "pipe:[7]", "pipe:[8]"]')


def test_restored(ours: Machine, criu: Criu, tmp_path: Path) -> None:
    _images(criu)
    ours.spec("sleep", "1000")
    words = ("restore", "--detach", "--work-path", str(tmp_path / "w"), "--pid-file",
             str(tmp_path / "pid"), "--bundle", str(ours.bundle), "c")  # fmt: skip
    done = ours.call(*criu.words(*words), cwd="/", stdout=None, stderr=None, capture_output=False)
    assert done.returncode == 0
    state = ours.state("c")
    assert state["status"] == "running"
    assert (tmp_path / "pid").read_text() == str(state["pid"])
    asked = criu.asked(Ask.RESTORE)["opts"]
    assert asked["rst_sibling"]
    assert asked["log_file"] == "restore.log"
    assert (criu.told("images"), criu.told("mounted")) == (str(tmp_path / "w"), True)
    assert asked["inherit_fd"] == [{"key": "pipe:[7]", "fd": 1}, {"key": "pipe:[8]", "fd": 2}]
    # it was in the container's cgroups when it was asked, and so is what it made
    mine = {one["ctrl"]: one["path"] for one in asked["cg_root"]}
    assert mine["pids"].endswith("-c")
    for line in Path(f"/proc/{state['pid']}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        assert all(mine[one] == path for one in controllers.split(","))
    ours.ok("pause", "c")
    assert ours.status("c") == "paused"
    ours.ok("resume", "c")
    ours.ok("kill", "c", "KILL")
    eventually(lambda: ours.status("c") == "stopped")
    ours.ok("delete", "c")


def test_restored_in_the_foreground(ours: Machine, criu: Criu) -> None:
    _images(criu)
    criu.plan(seconds=0)
    ours.ok(*criu.words("restore", "c"))
    assert containers(ours.root) == []


def test_hooks_around_it(ours: Machine, criu: Criu, tmp_path: Path) -> None:
    _images(criu)

    def hook(kind: str, script: str = "") -> list[Document]:
        text = f"cat >> {tmp_path}/told; echo ' {kind}' >> {tmp_path}/told; {script}"
        return [{"path": "/bin/sh", "args": ["sh", "-c", text]}]

    def change(document: Document, last: str = "") -> None:
        document["hooks"] = {
            "prestart": hook("prestart"), "createRuntime": hook("createRuntime", last),
            "poststop": hook("poststop"),
        }  # fmt: skip

    def told() -> list[str]:
        lines = (tmp_path / "told").read_text().splitlines()
        (tmp_path / "told").write_text("")
        return [line.rpartition(" ")[2] for line in lines]

    ours.spec("true", change=change)
    ours.quiet(*criu.words("restore", "-d", "c"))
    assert told() == ["prestart", "createRuntime"]
    ours.ok("delete", "-f", "c")
    assert told() == ["poststop"]
    ours.spec("true", change=lambda document: change(document, "exit 1"))
    assert "error running createRuntime hook" in ours.fails(*criu.words("restore", "-d", "c"))
    assert told() == ["prestart", "createRuntime", "poststop"]
    assert containers(ours.root) == []


def test_a_restore_that_fails(ours: Machine, criu: Criu) -> None:
    _images(criu)
    criu.plan(fail="No image")
    said = ours.fails(*criu.words("restore", "-d", "c"))
    assert said == "criu failed: type RESTORE errno 0: No image"
    assert containers(ours.root) == []
    ours.background("c")
    assert "already exists" in ours.fails(*criu.words("restore", "-d", "c"))
    assert ours.status("c") == "running"


def test_killed_in_the_middle_of_a_restore(ours: Machine, criu: Criu) -> None:
    _images(criu)
    criu.plan(hang=True)
    ours.spec("sleep", "1000")
    null = subprocess.DEVNULL
    restoring = subprocess.Popen(
        ours.words(*criu.words("restore", "-d", "c")), stdin=null, stdout=null, stderr=null,
        cwd=ours.bundle, env=ours.environment,
    )  # fmt: skip
    eventually((criu.directory / "hangs").exists)
    restoring.kill()
    restoring.wait()
    assert str(ours.root) not in Path("/proc/self/mountinfo").read_text()
    criu.plan()
    # the id is free again, with what the killed one had made
    eventually(
        lambda: ours.call(*criu.words("restore", "-d", "c"), capture_output=False).returncode == 0
    )
    assert ours.status("c") == "running"
    ours.ok("delete", "-f", "c")


def test_without_images(ours: Machine, criu: Criu) -> None:
    said = ours.fails(*criu.words("restore", "-d", "c"))
    assert "descriptors.json: no such file or directory" in said.lower()
    assert containers(ours.root) == []


def test_the_terminal_comes_back(ours: Machine, criu: Criu) -> None:
    _images(criu)
    criu.plan(terminal=True)
    ours.spec("sleep", "1000", change=lambda d: d["process"].update(terminal=True))
    path = f"/tmp/moby-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        try:
            listening.listen()
            ours.quiet(*criu.words("restore", "-d", "--console-socket", path, "c"))
            peer, _ = listening.accept()
            with peer:
                name, descriptors, _, _ = socket.recv_fds(peer, 4096, 1)
                assert name == b"/dev/ptmx"
                assert os.isatty(descriptors[0])
                os.close(descriptors[0])
        finally:
            os.unlink(path)
    ours.ok("delete", "-f", "c")


def test_mount_points_of_a_fresh_root(ours: Machine, criu: Criu, tmp_path: Path) -> None:
    _images(criu)
    root, data, file = tmp_path / "fresh", tmp_path / "data", tmp_path / "file"
    root.mkdir()
    data.mkdir()
    file.write_text("")

    def change(document: Document) -> None:
        bind = {"type": "bind", "options": ["bind"]}
        document["root"]["path"] = str(root)
        document["mounts"] += [
            {"destination": "/data", "source": str(data), **bind},
            {"destination": "/data/deep/file", "source": str(file), **bind},
            {"destination": "/dev/shm/x", "source": str(data), **bind},
        ]

    ours.spec("true", change=change)
    ours.quiet(*criu.words("restore", "-d", "c"))
    ours.ok("delete", "-f", "c")
    assert sorted(one.name for one in root.iterdir()) == ["data", "dev", "proc", "sys"]
    assert list((root / "dev").iterdir()) == []
    assert (data / "deep" / "file").is_file()
