"""Making what hides, protects or connects something else (CVE-2025-31133, CVE-2025-52565)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mobyshell.moby.defaults import container_spec
from tests.attacks.conftest import SECRET, Attack, add_mount, without_mount

pytestmark = pytest.mark.root

Document = dict[str, Any]


def masked(*paths: str) -> Any:
    return lambda document: document["linux"].update(maskedPaths=[*paths])


def test_every_kind_of_masked_path(attack: Attack) -> None:
    """Masked paths that are a file, a directory, a link to either, a link to the host, a loop, a
    device, or nothing. Success: one of those inside can be read by its own or its link's name, or
    something out there is hidden."""
    top = attack.image / "m"
    (top / "directory").mkdir(parents=True)
    for path in (top / "file", top / "directory" / "entry"):
        path.write_text(SECRET)
    (top / "to-file").symlink_to("file")
    (top / "to-directory").symlink_to("/m/directory")
    (top / "out").symlink_to(attack.outside)
    (top / "to-shell").symlink_to("/bin/busybox")
    (top / "loop").symlink_to("loop")
    os.mkfifo(top / "fifo")
    names = ("file", "to-file", "to-directory", "out", "out/secret", "fifo", "nothing", "to-shell",
             "loop", "file/below", "directory")  # fmt: skip
    result = attack.run(
        "cat /m/file /m/to-file /m/directory/entry /m/to-directory/entry 2>/dev/null;"
        "stat -c %t:%T /m/file /m/fifo /m/to-shell /m/loop; ls -A /m/directory | wc -l;"
        "touch /m/directory/x || echo ro",
        masked(*(f"/m/{name}" for name in names)),
    )
    assert SECRET not in result.output
    assert result.output.split() == ["1:3"] * 4 + ["0", "ro"], result.errors


def test_what_hides_a_file_is_not_to_be_changed(attack: Attack) -> None:
    """What is laid over a masked file is the host's /dev/null, and root inside, with every capability,
    changes its times, mode and owner through that. Success: it is changed for the host, which could
    be left with a /dev/null that nobody may open. (The attack sets what is set already, but for the
    times, so that the machine survives it.)"""

    def all_capabilities(document: Document) -> None:
        names = ["CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE", "CAP_FSETID"]
        for kind in ("bounding", "effective", "permitted"):
            document["process"]["capabilities"][kind] = names

    (attack.image / "m").write_text(SECRET)
    result = attack.run(
        "touch -d @86400 /m; chmod 666 /m; chown 0:0 /m; echo x > /m && cat /m",
        masked("/m"), all_capabilities,
    )  # fmt: skip
    assert os.stat("/dev/null").st_mtime != 86400
    assert result.errors.lower().count("read-only file system") == 3, result.errors
    assert result.status == 0  # and as a device it still takes everything and has nothing


def test_what_is_hidden_by_default(attack: Attack) -> None:
    """The host's keys, memory, power and timers are to be read in /proc and /sys. Success: something
    is, that the machine has, in a container of the spec that containers of images begin with."""
    linux = container_spec().linux
    assert linux is not None
    hidden = [path for path in linux.masked_paths or () if Path(path).exists()]
    assert {"/proc/keys", "/proc/kcore", "/proc/timer_list"} & set(hidden)
    assert {"/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"} <= set(
        linux.masked_paths or ()
    )
    script = "".join(f"cat {path}; ls -A {path}/;" for path in hidden)
    result = attack.run(f"({script}) 2>/dev/null", masked(*(linux.masked_paths or ())))
    assert result.output == "", result.errors


@pytest.mark.parametrize("kind", ["file", "link", "fifo", "device"])
def test_the_null_device_of_the_image(attack: Attack, kind: str) -> None:
    """The image brings its own /dev/null, and the spec mounts nothing on /dev: what is masked would
    show, or let write, what the image put there. Success: the container starts with it."""
    null = attack.image / "dev" / "null"
    match kind:
        case "file":
            null.write_text(SECRET)
        case "link":
            null.symlink_to("/proc/sys/kernel/core_pattern")
        case "fifo":
            os.mkfifo(null)
        case "device":
            os.mknod(null, 0o20666, os.makedev(1, 5))
    result = attack.run("true", without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"))
    assert result.status == -1
    assert "/dev/null already is not the device c 1:3" in result.errors


# in a mount namespace of its own, where /dev/null is something else
BROKEN_HOST = """
import os, sys
from pathlib import Path
from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import load_spec
from mobyshell.core.runtime import Runtime, Stdio
from mobyshell.core.runtime.steps import run
root, bundle = sys.argv[1:]
null = os.open("/dev/full", os.O_RDWR)
try:
    run(Runtime(Path(root)).create("c", bundle, stdio=Stdio(null, null, null)))
except MobyshellError as error:
    print(error)
"""


def test_the_null_device_of_the_host(attack: Attack, tmp_path: Path) -> None:
    """The host's own /dev/null has been replaced by a file (as careless root scripts do). Success:
    that file, which every container could write, is what hides every masked file."""
    bundle = attack.image.parent / "bundle"
    subprocess.run(["cp", "-a", str(attack.house.bundle), str(bundle)], check=True)
    document = (bundle / "config.json").read_text().replace('"terminal": true', '"terminal": false')
    (bundle / "config.json").write_text(document)
    (tmp_path / "null").write_text("")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c",
         'mount --bind "$0" /dev/null; exec "$@"', str(tmp_path / "null"),
         sys.executable, "-c", BROKEN_HOST, str(tmp_path / "own"), str(bundle)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "/dev/null of this machine is not the device c 1:3" in done.stdout, done.stderr


def test_the_console_is_a_link(attack: Attack) -> None:
    """The image's /dev/console is a link to a file of it, to one of the host, or to one that is
    masked, and the container has a terminal. Success: the terminal lies on the link's target, inside
    or out, and not on /dev/console."""
    console = attack.image / "dev" / "console"
    (attack.image / "target").write_text("mine\n")

    def terminal(document: Document) -> None:
        without_mount("/dev", "/dev/shm", "/dev/mqueue")(document)
        document["process"]["terminal"] = True

    (attack.image / "hidden").write_text("hidden\n")
    for target in ("/target", str(attack.outside / "secret"), "/hidden"):
        console.unlink(missing_ok=True)
        console.symlink_to(target)
        result = attack.run(
            "stat -c %t /dev/console > /said; cat /target >> /said;"
            "grep -c -e ' /target ' -e ' /hidden ' /proc/self/mountinfo >> /said; true",
            terminal, masked("/hidden"),
        )  # fmt: skip
        assert result.status == 0, result.errors
        # the terminal; the file as it was; and one mount, which protects
        assert (attack.image / "said").read_text().split() == ["88", "mine", "1"]


@pytest.mark.parametrize("kind", ["fifo", "file", "link", "device"])
def test_the_multiplexer_is_not_one(attack: Attack, kind: str) -> None:
    """There is no devpts, and the image's /dev/pts/ptmx is a FIFO that blocks whoever opens it, a
    file, a link to the host's, or another device; the container has a terminal. Success: the runtime
    hangs, or gives its caller a descriptor of that as the terminal."""
    (attack.image / "dev" / "pts").mkdir(exist_ok=True)
    ptmx = attack.image / "dev" / "pts" / "ptmx"
    match kind:
        case "fifo":
            os.mkfifo(ptmx)
        case "file":
            ptmx.write_text("")
        case "link":
            ptmx.symlink_to("/dev/ptmx")
        case "device":
            os.mknod(ptmx, 0o20666, os.makedev(5, 2))

    def terminal(document: Document) -> None:
        without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")(document)
        document["process"]["terminal"] = True

    result = attack.run("true", terminal)
    assert result.status == -1
    assert "/dev/pts is not a devpts" in result.errors


def test_writing_what_is_read_only(attack: Attack) -> None:
    """Root of the container, with the capabilities of the default spec, writes the kernel's settings
    by every name they have. Success: one of them is written."""
    result = attack.run(
        "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/self/root/proc/sys/kernel/"
        "core_pattern /proc/1/root/proc/sys/vm/swappiness /proc/irq/default_smp_affinity"
        " /sys/kernel/mm/ksm/run /sys/kernel/uevent_helper; do"
        " [ -e $f ] || continue; (echo '|/bin/evil' > $f) 2>/dev/null && echo written $f; done;"
        "mount -o remount,rw /proc/sys 2>/dev/null && echo remounted;"
        "umount /proc/sys 2>/dev/null && echo unmounted; true",
        add_mount("/t"),
    )
    assert result.output == ""
