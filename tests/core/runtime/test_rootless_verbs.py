"""The verbs for a user without privileges: what works, and what is said where something cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root  # to become somebody else

# all that the runtime can need is loaded before: another user may not be allowed to read this
# installation. What is beside it or above it, it may not import
LOAD = """
import ctypes, encodings.utf_8_sig, importlib, json, os, pkgutil, shutil, subprocess, sys, time
import mobyshell.core
others = {"tasks", "registry", "store", "network", "volumes", "trust"}
for found in pkgutil.walk_packages(mobyshell.core.__path__, "mobyshell.core."):
    if found.name.split(".")[2] not in others and not found.name.endswith(".enter"):
        importlib.import_module(found.name)
"""
BECOME = (
    LOAD
    + """
os.setgroups([]); os.setgid(12345); os.setuid(12345)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after an execve
from pathlib import Path
from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import load_spec, parse_spec, spec_to_json
from mobyshell.core.runtime import Runtime, Stdio
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.runtime.script import script
from mobyshell.core.runtime.steps import run
home = Path(sys.argv[1])
bundle = new_bundle(home / "bundle")
runtime = Runtime(home / "root")
null = os.open("/dev/null", os.O_RDWR)

def spec(*args):
    document = spec_to_json(load_spec(bundle))
    document["process"].update(terminal=False, args=list(args))
    return parse_spec(json.dumps(document))

def tell(**values):
    print(json.dumps(values))
"""
)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chown(directory, 12345, 12345)
        yield Path(directory)


def as_user(home: Path, code: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", BECOME + code, str(home)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_life_of_a_container(home: Path) -> None:
    said = as_user(home, """
made = run(runtime.create("c", str(bundle), stdio=Stdio(null, null, 2),
                          spec=spec("sh", "-c", "sleep 1000 & sleep 1001 & echo $$; wait")))
status = [str(runtime.state("c")[1])]
run(runtime.start("c"))
status.append(str(runtime.state("c")[1]))
processes = runtime.ps("c")
while sum(one.command.startswith("sleep") for one in processes) < 2:
    time.sleep(0.01)
    processes = runtime.ps("c")
refused = {}
for name, verb in (("pause", lambda: run(runtime.pause("c"))),
                   ("update", lambda: run(runtime.update("c", {"pids": {"limit": 5}})))):
    try:
        verb()
    except MobyshellError as error:
        refused[name] = [type(error).__name__, error.hint]
differences = [one.path for one in runtime.diff("c") if one.agrees is False]
stats = runtime.stats("c")
run(runtime.kill("c", 9, all_processes=True))
code = run(runtime.wait("c", timeout=60))
status.append(str(runtime.state("c")[1]))
after = len(runtime.ps("c"))
run(runtime.delete("c"))
tell(status=status, processes=[[p.pid_inside, p.uid, p.command] for p in processes],
     refused=refused, differences=differences, pids=stats.pids, code=code, after=after,
     left=os.listdir(home / "root"))
""")  # fmt: skip
    assert said["status"] == ["created", "running", "stopped"]
    assert said["processes"][0][:2] == [1, 12345]
    assert {one[2] for one in said["processes"][1:]} == {"sleep 1000", "sleep 1001"}
    assert said["refused"]["pause"][0] == said["refused"]["update"][0] == "Unsupported"
    assert all("root" in hint for _, hint in said["refused"].values())
    assert said["differences"] == []
    assert said["pids"] is None  # nobody counts
    assert (said["code"], said["after"], said["left"]) == (137, 0, [])


def test_kill_all_finds_them_by_their_pid_namespace(home: Path) -> None:
    said = as_user(home, """
made = run(runtime.create("c", str(bundle), stdio=Stdio(null, null, 2),
                          spec=spec("sh", "-c", "sleep 1000 & sleep 1001; sleep 1002; true")))
run(runtime.start("c"))
while len(runtime.ps("c")) < 3:
    time.sleep(0.01)
run(runtime.kill("c", 15, all_processes=True))
while [one.command for one in runtime.ps("c") if one.state != "Z"][1:] != ["sleep 1002"]:
    time.sleep(0.01)  # process 1 does not take a signal that it has no handler for
run(runtime.delete("c", force=True))
tell(left=os.listdir(home / "root"))
""")  # fmt: skip
    assert said["left"] == []


def test_the_script_needs_no_root_either(home: Path) -> None:
    said = as_user(home, """
what = spec("sh", "-c", "id -u; hostname; grep -c . /proc/self/mountinfo; cat /proc/self/uid_map")
path = home / "script"
path.write_text(script(runtime.plan("c", str(bundle), spec=what), what))
done = subprocess.run(["sh", str(path)], capture_output=True, text=True)
tell(out=done.stdout.split(), err=done.stderr, code=done.returncode)
""")  # fmt: skip
    assert said["code"] == 0, said["err"]
    assert said["out"][:2] == ["0", "runc"]
    assert said["out"][3:] == ["0", "12345", "1"]


def test_mounts_of_ones_own(home: Path) -> None:
    said = as_user(home, """
(bundle / "rootfs" / "data").mkdir()
(bundle / "rootfs" / "data" / "file").write_text("said\\n")
(bundle / "rootfs" / "data").chmod(0o2770)
(bundle / "rootfs" / "link").symlink_to("/far/there")
(home / "volume").mkdir(mode=0o700)
(home / "volume" / "file").write_text("bound\\n")
document = spec_to_json(spec("sh", "-c", "cat /data/file /far/there/file; stat -c %a /data /etc"))
tmpfs = {"type": "tmpfs", "source": "tmpfs"}
document["root"]["readonly"] = False
first = len(document["mounts"])
document["mounts"] += [
    {"destination": "/data", "options": ["tmpcopyup"], **tmpfs}, {"destination": "/etc", **tmpfs},
    {"destination": "/link", "source": str(home / "volume"), "options": ["bind", "ro"]},
]
mapped = json.loads(json.dumps(document))
mapped["mounts"][-1]["options"].append("idmap")
out = os.open(home / "out", os.O_RDWR | os.O_CREAT)
made = run(runtime.create("c", str(bundle), stdio=Stdio(null, out, 2),
                          spec=parse_spec(json.dumps(document))))
run(runtime.start("c"))
run(runtime.wait("c", timeout=60))
run(runtime.delete("c"))
try:
    run(runtime.create("d", str(bundle), stdio=Stdio(null, out, 2),
                       spec=parse_spec(json.dumps(mapped))))
except MobyshellError as error:
    refused = [str(error), error.hint]
tell(out=(home / "out").read_text().split(), refused=refused, number=first + 2)
""")  # fmt: skip
    assert said["out"] == ["said", "bound", "2770", "755"]
    assert f"(mounts[{said['number']}].uidMappings)" in said["refused"][0]
    assert "run as root" in said["refused"][1]


@pytest.mark.parametrize("helper", [True, False])
def test_what_is_missing_for_more_than_ones_own_id(home: Path, helper: bool) -> None:
    said = as_user(home, f"""
from dataclasses import replace
document = spec_to_json(spec("true"))
for kind in ("uid", "gid"):
    document["linux"][kind + "Mappings"] = [
        {{"containerID": 0, "hostID": 12345, "size": 1}},
        {{"containerID": 1, "hostID": 100000, "size": 10}},
    ]
if not {helper}:
    runtime._host = replace(runtime.host, newuidmap=None, newgidmap=None)
try:
    run(runtime.create("c", str(bundle), stdio=Stdio(null, null, 2),
                       spec=parse_spec(json.dumps(document))))
except MobyshellError as error:
    tell(kind=type(error).__name__, text=error.message, hint=error.hint,
         left=os.listdir(home / "root") if (home / "root").exists() else [])
""")  # fmt: skip
    assert said["left"] == []
    if helper:
        assert said["kind"] == "HookFailed"
        assert said["text"].startswith("map gids: 0 12345 1, 1 100000 10")
        assert said["hint"] == "user 12345 has no name in /etc/passwd, which newgidmap needs"
    else:
        assert said["kind"] == "Unsupported"
        assert "apt install uidmap" in said["hint"]


def test_the_recipe_for_a_user(home: Path) -> None:
    recipe = Path(__file__).parents[3] / "recipes" / "bundles" / "rootless.json"
    (home / "recipe.json").write_text(recipe.read_text())
    (home / "recipe.json").chmod(0o644)
    found = as_user(home, """
place = new_bundle(home / "recipe", config=home / "recipe.json")
out = os.open(home / "out", os.O_RDWR | os.O_CREAT)
run(runtime.create("c", str(place), stdio=Stdio(null, out, 2)))
run(runtime.start("c"))
code = run(runtime.wait("c", timeout=60))
run(runtime.delete("c", force=True))
tell(code=code, said=(home / "out").read_text().split())
""")  # fmt: skip
    assert found["code"] == 0
    assert found["said"][:5] == ["uid=0(root)", "gid=0(root)", "0", "12345", "1"]
    assert "config.json" in found["said"]
