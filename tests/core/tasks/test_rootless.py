"""The same without root: a user's own state root, shim, and containers in a user namespace."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.oci import IDMapping, default_spec, dump_spec
from tests.core.tasks.conftest import make_bundle, nobody_left
from tests.netns import Netns, connect_hosts, environment
from tests.users import package_for_all, python_for
from tests.waiting import eventually

pytestmark = pytest.mark.root

NOBODY = 65534

SCRIPT = """
import os, signal, sys, time
sys.path[:0] = [sys.argv[1]]
from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks.client import TaskClient
from mobyshell.core.tasks.connect import connect
bundle, runtime = sys.argv[2:4]
script = "trap 'exit 5' TERM; id -u; echo out > /dev/stdout; while :; do sleep 0.05; done"
with TaskClient() as client:
    print("state", client.state)
    try:
        client.create("rl-one", bundle, args=["sh", "-c", script], runtime=runtime)
        client.start("rl-one")
        made = client.exec("rl-one", ["sh", "-c", "echo exec; exit 3"], user="0")
        print("exec", client.wait("rl-one", exec_id=made.exec_id))
        probe = connect(client.state); probe.close()
        os.kill(probe.shim_pid, signal.SIGKILL)
        until = time.monotonic() + 60
        while "out" not in [line.data.decode() for line in client.logs("rl-one")]:
            assert time.monotonic() < until
            time.sleep(0.02)
        successor = probe
        while successor.shim_pid == probe.shim_pid:
            time.sleep(0.02)
            successor = connect(client.state)
            successor.close()
        client.kill("rl-one", signal.SIGTERM)
        print("wait", client.wait("rl-one", timeout=60))
        print("log", [line.data.decode() for line in client.logs("rl-one")])
        client.create("rl-two", bundle, args=["sh", "-c", "stty size; read x; echo got $x"],
                      terminal=True, rows=10, columns=20, runtime=runtime)
        attached = client.attach("rl-two")
        client.start("rl-two")
        seen = b""
        while b"20" not in seen:
            seen += attached.read()[1]
        attached.write(b"yo\\n")
        while (found := attached.read()) is not None:
            seen += found[1]
        attached.close()
        print("terminal", seen.split())
    finally:
        for task in client.ls():
            print("delete", client.delete(task.id, force=True))
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of the user's, outside of the tests' own, which is root's alone."""
    with tempfile.TemporaryDirectory(prefix="mobyshell-rootless-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def bundle(home: Path) -> Path:
    """A bundle for a container whose root is that user; all in `home` is the user's."""
    (home / "run").mkdir(mode=0o700)
    bundle = make_bundle(home / "bundle")
    spec = default_spec(rootless=True)
    assert spec.process is not None
    assert spec.linux is not None
    only = (IDMapping(container_id=0, host_id=NOBODY, size=1),)
    spec = replace(
        spec,
        process=replace(spec.process, terminal=False),
        linux=replace(spec.linux, uid_mappings=only, gid_mappings=only),
    )
    (bundle / "config.json").write_text(dump_spec(spec))
    subprocess.run(["chown", "-hR", f"{NOBODY}:{NOBODY}", str(home)], check=True)
    return bundle


@pytest.mark.parametrize("runtime", ["mobyshell", "runc"])
def test_a_user_without_privileges_has_tasks_too(home: Path, bundle: Path, runtime: str) -> None:
    python = python_for(NOBODY)
    environment = {"XDG_RUNTIME_DIR": str(home / "run"), "PATH": os.environ["PATH"],
                   "MOBYSHELL_LINGER": "0.2"}  # fmt: skip
    found = subprocess.run(
        [python, "-I", "-c", SCRIPT, package_for_all(), str(bundle), runtime], user=NOBODY, group=NOBODY,
        extra_groups=[], env=environment, cwd="/", capture_output=True, text=True, timeout=90,
        check=False,
    )  # fmt: skip
    state = home / "run" / "mobyshell"
    try:
        assert found.returncode == 0, found.stderr + (state / "shim.log").read_text()
        assert found.stdout.splitlines() == [
            f"state {state}",
            "exec 3",
            "wait 5",
            "log ['0', 'out']",
            "terminal [b'10', b'20', b'yo', b'got', b'yo']",
            "delete 5",
            "delete 0",
        ]
        assert (state / "shim.log").read_text() == ""
    finally:
        eventually(lambda: nobody_left(state))


@pytest.mark.peer
@pytest.mark.parametrize("program", ["pasta", "slirp4netns", ""])  # the last: whichever there is
def test_a_user_without_privileges_has_a_network(home: Path, bundle: Path, program: str) -> None:
    python = python_for(NOBODY)
    variables = {
        "XDG_RUNTIME_DIR": str(home / "run"), "MOBYSHELL_ROOT": str(home / "store"),
        "PATH": environment()["PATH"], "MOBYSHELL_LINGER": "0.2", "HOME": str(home),
    }  # fmt: skip
    network = ["--network", program] if program else []
    words = [python, "-c", _MAIN, package_for_all(), "run", "--rm", *network,
             "-p", "18080:80", str(bundle), "--", "sh", "-c",
             "ip route; until wget -qO- http://198.51.100.2:9/page; do sleep 0.1; done"]  # fmt: skip
    with Netns() as host, Netns() as outside:
        connect_hosts(host, outside)
        (home / "page").write_text("from outside\n")
        serving = outside.start(sys.executable, "-m", "http.server", "9", "--directory", str(home))
        try:
            done = subprocess.run(
                host.words("unshare", "-m", "sh", "-c", _TUN, str(home / "tun"), "setpriv",
                           f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *words),
                env=variables, cwd="/", capture_output=True, text=True, timeout=90, check=False,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            serving.kill()
            serving.wait()
    assert done.returncode == 0, done.stderr
    assert "from outside" in done.stdout
    assert "default via" in done.stdout
    state = home / "run" / "mobyshell"
    assert list((state / ".networks" / "default").iterdir()) == []
    eventually(lambda: nobody_left(state))


# as udev gives it: everybody's
_TUN = 'mknod -m 666 "$0" c 10 200 && mount --bind "$0" /dev/net/tun && exec "$@"'

_MAIN = """
import sys
sys.path[:0] = [sys.argv.pop(1)]
from mobyshell.__main__ import main
sys.exit(main())
"""
