"""Both executors on the specs of the suite: the recipes, what engines write, what the other tests
ask for most, and combinations of it all. What the kernel says then is the same."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.core.runtime.conftest import House
from tests.core.runtime.native.test_same import CASES, Change, Document, differing, life
from tests.core.runtime.native.test_same import both as both  # a fixture
from tests.core.runtime.test_diff import everything
from tests.core.runtime.test_diff_mounts import every_option
from tests.core.runtime.test_seccomp import ACTIONS
from tests.core.runtime.test_systemd import LIMITS

pytestmark = pytest.mark.root

RECIPES = sorted((Path(__file__).parents[4] / "recipes" / "bundles").glob("*.json"))


def recipe(path: Path) -> Change:
    """A recipe, but for its rootfs and its program."""

    def change(document: Document) -> None:
        kept = document["root"], document["process"]["args"]
        document.clear()
        document.update(json.loads(path.read_text()))
        document["root"]["path"] = kept[0]["path"]
        document["process"]["args"] = kept[1]
        document["process"]["terminal"] = False
        # without what this machine may not have, or the mapped root may not reach
        document["mounts"] = [one for one in document["mounts"] if there(one)]

    return change


def there(entry: Document) -> bool:
    source = entry.get("source", "")
    binds = bool({"bind", "rbind"} & set(entry.get("options", ())))
    return not binds or (source.startswith("/") and os.path.exists(source))


def of_an_engine(document: Document) -> None:
    """As podman has it: a tmpfs like what it covers, files bound over those of the image, a filter,
    the cgroups shown."""
    hide = ["nosuid", "noexec", "nodev"]
    document["mounts"] += [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
         "options": ["rw", "rprivate", "nosuid", "nodev", "tmpcopyup"]},
        {"destination": "/etc/hostname", "type": "bind", "source": "/etc/hostname",
         "options": ["bind", "rprivate"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["rprivate", *hide, "relatime", "ro"]},
    ]  # fmt: skip
    document["process"]["env"] = ["container=podman", "HOSTNAME=abc", "HOME=/root", "PATH=/bin"]
    document["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}],
                                      "pids": {"limit": 2048}}  # fmt: skip
    document["linux"]["sysctl"] = {"net.ipv4.ping_group_range": "0 0"}
    document["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": [*ALLOWED_HERE], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
             "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]},
        ],
    }  # fmt: skip


# fmt: off
ALLOWED_HERE = (
    "access", "arch_prctl", "brk", "clock_nanosleep", "close", "dup2", "execve", "exit", "exit_group",
    "fork", "fstat", "getcwd", "getdents64", "getegid", "geteuid", "getgid", "getgroups", "getpid",
    "getppid", "getrandom", "gettid", "getuid", "ioctl", "lseek", "lstat", "mmap", "mprotect", "munmap",
    "nanosleep", "newfstatat", "open", "openat", "pipe", "poll", "prctl", "prlimit64", "read",
    "readlink", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sendfile",
    "set_robust_list", "set_tid_address", "setgid", "setuid", "stat", "statx", "umask", "uname",
    "vfork", "wait4", "write", "writev", "clone", "fcntl",
)
# fmt: on


def check(both: dict[str, House], change: Change, *, sound: bool = True) -> None:
    life(both["native"], change)  # makes the mount points that the root filesystem does not have
    portable = life(both["portable"], change)
    native = life(both["native"], change)
    assert differing(native, portable) == []
    assert "created" in portable or not sound, portable


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes(both: dict[str, House], path: Path) -> None:
    check(both, recipe(path))


@pytest.mark.parametrize("change", [everything, of_an_engine])
def test_what_others_ask_for(both: dict[str, House], change: Change) -> None:
    check(both, change)


def test_every_option_of_a_mount(both: dict[str, House], tmp_path: Path) -> None:
    check(both, every_option(tmp_path))


def test_limits(both: dict[str, House]) -> None:
    limits = {**LIMITS, "cpu": {**LIMITS["cpu"], "cpus": "0"}}
    check(both, lambda document: document["linux"].update(resources=limits))


@pytest.mark.parametrize("action", [one for one in ACTIONS if "NOTIFY" not in str(one)][:4])
def test_filters(both: dict[str, House], action: Any) -> None:
    name = action if isinstance(action, str) else action[0]

    def change(document: Document) -> None:
        document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["acct"], "action": name}],
        }

    check(both, change)


# those that end in an error would hide the others; and some ask for namespaces of their own
SOUND = [
    name for name in CASES if name not in ("no program", "no working directory", "nothing new")
]


@pytest.mark.parametrize("seed", range(8))
def test_three_at_once(both: dict[str, House], seed: int) -> None:
    """Combinations; what makes no sense together fails alike."""
    chosen = random.Random(seed).sample(SOUND, 3)

    def change(document: Document) -> None:
        for name in chosen:
            CASES[name](document)

    check(both, change, sound=False)
