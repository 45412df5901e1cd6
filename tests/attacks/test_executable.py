"""CVE-2019-5736: a container overwrites the program that the runtime's process is run from.

Two ways lead there, both taken for real by `overwrite.c`. From beside: a process of the container
opens /proc/PID/exe of a process of the runtime that it can see (a container being created in its
pid namespace, an exec on its way in), and writes to it when that has become something else. From
within: the image names /proc/self/exe as the program to execute, so that the kernel executes the
runtime's own program, with the image's files as its dynamic loader. The controls show that both
succeed against a process of an ordinary file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import HookFailed
from mobyshell.core.linux.namespaces.entry import enter_process
from mobyshell.core.linux.namespaces.entry import program as entering
from mobyshell.core.linux.namespaces.survey import survey
from mobyshell.core.runtime import Container, Runtime
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.native.executor import NativeExecutor
from mobyshell.core.runtime.portable import PortableExecutor
from mobyshell.core.runtime.steps import run
from mobyshell.runc import front
from tests.core.runtime.conftest import House, busybox, house
from tests.runc.conftest import Machine

__all__ = ["busybox", "house"]

pytestmark = pytest.mark.root

Document = dict[str, Any]
LOADER = "lib64/ld-linux-x86-64.so.2"
EVERYTHING = [f"CAP_{name}" for name in ("SYS_PTRACE", "SYS_ADMIN", "DAC_OVERRIDE", "FOWNER",
              "DAC_READ_SEARCH", "SETUID", "SETGID", "KILL", "FSETID", "CHOWN")]  # fmt: skip


@pytest.fixture(scope="session")
def overwrite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attacker's program."""
    made = tmp_path_factory.mktemp("attacker") / "overwrite"
    subprocess.run(
        ["gcc", "-O1", "-static-pie", "-fPIE", "-nostdlib", "-ffreestanding",
         "-fno-stack-protector", "-o", made, Path(__file__).with_name("overwrite.c")], check=True,
    )  # fmt: skip
    return made


@pytest.fixture
def image(house: House, overwrite: Path, tmp_path: Path) -> Path:
    """The attacker's image: its loader is the attacker's program, and so is /overwrite."""
    root = tmp_path / "image"
    shutil.copytree(house.bundle / "rootfs", root, symlinks=True)
    shutil.copy(overwrite, root / "overwrite")
    loader = root / LOADER
    loader.parent.mkdir(exist_ok=True)
    loader.unlink(missing_ok=True)
    shutil.copy(overwrite, loader)
    (root / "entry").write_text("#!/proc/self/exe\n")
    (root / "entry").chmod(0o755)
    (root / "itself").symlink_to("/proc/self/exe")
    return root


@pytest.fixture(params=[NativeExecutor, PortableExecutor])
def victim(request: pytest.FixtureRequest, house: House, tmp_path: Path) -> Iterator[House]:
    """A house whose runtime is attacked; afterwards the interpreter is what it was."""
    before = digest(Path("/proc/self/exe"))
    made: Executor = request.param()
    runtime = Runtime(tmp_path / "root", executor=made)
    yield House(runtime, house.bundle, tmp_path)
    assert digest(Path("/proc/self/exe")) == before


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of(image: Path, change: Callable[[Document], object] = lambda _: None) -> Any:
    """The attacker's image, with every capability that could help it."""

    def changed(document: Document) -> None:
        document["root"] = {"path": str(image)}
        for kind in ("bounding", "effective", "permitted"):
            document["process"]["capabilities"][kind] = EVERYTHING
        document["process"]["noNewPrivileges"] = False
        change(document)

    return changed


def eventually(path: Path, text: str) -> None:
    """Until `text` is in the file."""
    until = time.monotonic() + 60
    while text not in path.read_text():
        assert time.monotonic() < until, path.read_text()
        time.sleep(0.01)


def inner_pid(pid: int) -> str:
    """The number of a process in its own pid namespace."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[-1] for line in lines if line.startswith("NSpid:"))


class Watcher:
    """A container of the attacker's, in which `overwrite watch` looks at a process."""

    def __init__(self, house: House, image: Path) -> None:
        self.house = house
        self.container = house.create("watcher", house.spec(of(image), "sleep", "1000"))
        run(house.runtime.start("watcher"))

    def watch(self, pid: int) -> subprocess.Popen[str]:
        """Its program, looking at process `pid` from inside its namespaces."""
        root = f"/proc/{self.container.pid}/root"
        watching = subprocess.Popen(
            ["nsenter", f"--pid=/proc/{self.container.pid}/ns/pid",
             f"--mount=/proc/{self.container.pid}/ns/mnt", f"--root={root}", "--wd=/",
             "/overwrite", "watch", f"/proc/{inner_pid(pid)}/exe"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watching.stdout is not None
        assert watching.stdout.readline() == "opened 0\n"
        # while it runs, nobody can write to it
        assert watching.stdout.readline() in ("busy 26\n", "busy 1\n")
        return watching

    def close(self) -> None:
        os.close(self.container.pidfd)
        run(self.house.runtime.delete("watcher", force=True))


@pytest.fixture
def watcher(victim: House, image: Path) -> Iterator[Watcher]:
    made = Watcher(victim, image)
    yield made
    made.close()


def said(watching: subprocess.Popen[str]) -> list[str]:
    """What the attacker's attempt came to; it must end by itself."""
    output, _ = watching.communicate(timeout=60)
    return output.splitlines()


def joined(pid: int) -> Callable[[Document], object]:
    def change(document: Document) -> None:
        for one in document["linux"]["namespaces"]:
            if one["type"] == "pid":
                one["path"] = f"/proc/{pid}/ns/pid"

    return change


def test_a_container_being_created_has_no_program_of_the_host(
    victim: House, watcher: Watcher, image: Path
) -> None:
    """A container that shares the attacker's pid namespace waits to be started, in its sight."""
    spec = victim.spec(of(image, joined(watcher.container.pid)), "true")
    made = victim.create("c", spec)
    shown = os.readlink(f"/proc/{made.pid}/exe")
    assert shown.startswith("/memfd:mobyshell")
    watching = watcher.watch(made.pid)
    end(victim, made)
    assert said(watching) == ["open 0", "write 1", "truncate 1"], shown  # EPERM: sealed


def end(house: House, container: Container) -> None:
    """Kill and delete it, and see to it that not even its zombie is left to be looked at."""
    signal.pidfd_send_signal(container.pidfd, signal.SIGKILL)
    os.waitid(os.P_PIDFD, container.pidfd, os.WEXITED)
    os.close(container.pidfd)
    run(house.runtime.delete("c", force=True))


def test_control_a_process_of_an_ordinary_file_is_overwritten(
    watcher: Watcher, tmp_path: Path
) -> None:
    """The same watcher, and a process of a program of the host in its pid namespace."""
    naive = tmp_path / "sleep"
    shutil.copy("/bin/busybox", naive)
    entered = subprocess.Popen(
        ["nsenter", f"--pid=/proc/{watcher.container.pid}/ns/pid", naive, "1000"]
    )
    children = Path(f"/proc/{entered.pid}/task/{entered.pid}/children")
    until = time.monotonic() + 60
    while not (found := children.read_text().split()) or os.readlink(
        f"/proc/{found[0]}/exe"
    ) != str(naive):
        assert time.monotonic() < until
    watching = watcher.watch(int(found[0]))
    os.kill(int(found[0]), signal.SIGKILL)
    entered.wait(timeout=60)
    assert said(watching) == ["open 0", "write 0", "truncate 0"]
    assert naive.read_bytes() == b""


@pytest.mark.parametrize("program", ["/entry", "/itself", "/proc/self/exe"])
def test_an_image_that_executes_the_runtime_itself(
    victim: House, image: Path, program: str
) -> None:
    """The program is the runtime's own: by a script's first line, by a link, by its name."""
    made = victim.create("c", victim.spec(of(image), program))
    run(victim.runtime.start("c"))
    result = victim.finish(made)
    if isinstance(victim.runtime.executor, NativeExecutor):
        # a static program that does nothing without its descriptors: no code of the image ran
        assert (result.status, result.output) == (255, "")
    else:
        # the image's loader did run in the interpreter's process, but there is nothing to win
        assert "write 0" not in result.output
        assert result.output.splitlines() in (
            ["open 0", "write 1", "truncate 1"], ["open 26"],
        )  # fmt: skip


@pytest.mark.parametrize("program", ["/entry", "/itself"])
def test_an_exec_of_the_runtime_itself(victim: House, image: Path, program: str) -> None:
    """The same with one more process in a running container."""
    made = victim.create("c", victim.spec(of(image), "sleep", "1000"))
    run(victim.runtime.start("c"))
    try:
        result = victim.exec("c", program)
        assert "write 0" not in result.output
        if isinstance(victim.runtime.executor, NativeExecutor):
            assert (result.status, result.output) == (255, "")
    finally:
        end(victim, made)


def test_the_command_itself(image: Path, tmp_path: Path) -> None:
    """As it is installed, often enough that plans and tickets are used, which need no Python."""
    place = tmp_path / "bin"
    place.mkdir()
    for name in ("mobyshell-runc", "mobyshell-runc-x86_64", "mobyshell-runc-verbs-x86_64"):
        shutil.copy(front.TARGET.parent / name, place / name)
    (place / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (place / "python3").chmod(0o755)
    programs = [*place.iterdir(), Path("/proc/self/exe")]
    before = [digest(one) for one in programs]
    (tmp_path / "machine").mkdir()
    machine = Machine(tmp_path / "machine", image, [str(place / "mobyshell-runc")])
    try:
        for program in ("/entry", "/itself", "/proc/self/exe") * 3:
            machine.spec(program, change=of(image))
            done = machine.call("run", "c")
            assert (done.returncode, done.stdout) == (255, "")
        machine.spec("sleep", "1000", change=of(image))
        machine.quiet("run", "-d", "c")
        for program in ("/entry", "/itself") * 4:
            done = machine.call("exec", "c", program)
            assert (done.returncode, done.stdout) == (255, "")
    finally:
        machine.clear()
    assert [digest(one) for one in programs] == before


def test_a_hook_inside_that_executes_the_runtime_itself(victim: House, image: Path) -> None:
    """The path of a startContainer hook is looked up in the image."""

    def change(document: Document) -> None:
        document["hooks"] = {"startContainer": [{"path": "/entry"}]}

    made = victim.create("c", victim.spec(of(image, change), "true"))
    try:
        if isinstance(victim.runtime.executor, NativeExecutor):
            with pytest.raises(HookFailed, match="exit status 255, stdout: , "):
                run(victim.runtime.start("c"))
        else:
            try:
                run(victim.runtime.start("c"))
            except HookFailed as error:
                assert "write 0" not in str(error)
    finally:
        end(victim, made)


@pytest.mark.parametrize("program", ["/entry", "/itself"])
def test_a_command_in_namespaces_that_is_the_helper_itself(
    victim: House, image: Path, program: str
) -> None:
    """`ns enter` executes what the image has under the command's name."""
    made = victim.create("c", victim.spec(of(image), "sleep", "1000"))
    run(victim.runtime.start("c"))
    try:
        done = subprocess.run(
            entering(enter_process(survey(), made.pid, ("mnt", "pid", "uts")), [program]),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        # its loader is the image's: it did run, and could not write, busy or sealed
        assert done.stdout.splitlines() in (["open 26"], ["open 0", "write 1", "truncate 1"]), (
            done.stderr
        )
        done = subprocess.run(
            entering(enter_process(survey(), made.pid, ("mnt", "pid")),
                     ["sh", "-c", "echo $LD_LIBRARY_PATH; readlink /proc/self/exe"]),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.stdout.splitlines() == ["", "/bin/busybox"], done.stderr
    finally:
        end(victim, made)


def test_control_an_interpreter_in_a_file_is_overwritten(image: Path, tmp_path: Path) -> None:
    """A runtime that executes the image's program from a Python of the host's."""
    python = tmp_path / "python"
    shutil.copy(os.path.realpath("/proc/self/exe"), python)
    assert b"ld-linux-x86-64.so.2" in python.read_bytes()
    (image / "proc").mkdir(exist_ok=True)
    naive = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None)\n"
        "os.chroot(sys.argv[1]); os.chdir('/')\n"
        "libc.mount(b'proc', b'/proc', b'proc', 0, None)\n"
        "os.execv('/entry', ['/entry'])\n"
    )
    library = os.path.join(sys.base_prefix, "lib")
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", python, "-I", "-S", "-c", naive, image],
        env={"LD_LIBRARY_PATH": library, "PYTHONHOME": sys.base_prefix}, text=True,
        capture_output=True, executable=shutil.which("unshare"), check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["open 0", "write 0", "truncate 0"], done.stderr
    assert python.read_bytes() == b""
