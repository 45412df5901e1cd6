"""A virtual machine with cgroup v2 alone, to run tests in: Debian's kernel in qemu, without KVM.

The machine has this one's files, read-only over 9p with a tmpfs on top, so that the same Python
and the same tests run in it; no network, two CPUs. An init of ours, in an initramfs made here of
busybox and a few modules, mounts what is needed and runs one script. What that writes to the
second serial port, line by line, is the result.

A boot that shows no sign of life for PATIENCE seconds is started over, once, and said so aloud.
"""

from __future__ import annotations

import lzma
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / ".ci" / "cache" / "kernel"
MODULES = (
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
    "netfs", "fscache", "9pnet", "9pnet_virtio", "9p", "overlay",
    # criu asks about sockets through them, and locks networks
    "unix_diag", "inet_diag", "tcp_diag", "udp_diag", "af_packet_diag", "netlink_diag",
    "nfnetlink", "crc32c_generic", "libcrc32c", "nf_tables",
    "nf_defrag_ipv4", "nf_defrag_ipv6", "nf_conntrack", "nf_conntrack_netlink",
)  # fmt: skip
"""In the order of what needs what."""

PATIENCE = 300.0
"""Seconds without a byte from the machine after which it hangs. Its boot takes five on an idle
machine, the slowest test a few more."""
LONGEST = 1200.0
"""Seconds for everything, whatever it says meanwhile."""
RESULTS = "/dev/ttyS1"
_QUICKLY = "init_on_alloc=0 clearcpuid=112 tsc=reliable"
"""A `rep movs` or `rep stos` is a loop of single steps when translated: forks and new pages take half as
long without (112 is rep_good, the rest -cpu takes away), and pages need not be emptied twice. The
TSC is the host's clock: nothing has to be measured, and no device asked for the time."""


class VMFailed(Exception):
    """The machine did not do what it was started for; the message ends with its console."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`results`: the lines that the script wrote to RESULTS. `boots`: 1, or 2 if the first hung."""

    results: tuple[str, ...]
    console: str
    boots: int


def run(script: str, directory: Path, options: str = "") -> Outcome:
    """Boot, run `script` (POSIX sh, as root, in this machine's files) and wait for its end.

    `options` are more of the kernel's command line.
    VMFailed if it hangs twice, or if the kernel ends otherwise than by the script's end.
    """
    image = KERNEL / "vmlinuz"
    if not image.exists():
        raise VMFailed(f"no kernel at {image}: `sh .ci/kernel` fetches it")
    missing = [name for name in MODULES if not any(KERNEL.glob(f"{name}.ko*"))]
    if missing:
        raise VMFailed(f"no {', '.join(missing)} in {KERNEL}: `sh .ci/kernel` fetches it anew")
    initrd = directory / "initrd"
    initrd.write_bytes(_initramfs(script))
    for boots in (1, 2):
        console, results = directory / f"console-{boots}.log", directory / f"results-{boots}.log"
        ended = _boot(image, initrd, console, results, options)
        text = console.read_text(errors="replace")
        lines = tuple(results.read_text(errors="replace").replace("\r", "").splitlines())
        if ended and lines and lines[-1] == "end":
            return Outcome(lines[:-1], text, boots)
        if ended:
            raise VMFailed(f"the machine ended early; its console:\n{text[-4000:]}")
        print(f"\n!!! The virtual machine hung at boot {boots}, see {console} and below:\n"
              f"{text[-2000:]}", file=sys.__stderr__, flush=True)  # fmt: skip
    raise VMFailed(f"the machine hung twice; its console:\n{text[-4000:]}")


def _boot(image: Path, initrd: Path, console: Path, results: Path, options: str) -> bool:
    """True if the machine ended by itself; False if it had to be stopped."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        raise VMFailed("no qemu-system-x86_64: apt install qemu-system-x86")
    console.touch()
    results.touch()
    words = [
        qemu, "-M", "pc", "-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm", "-smp", "2",
        "-m", "2048",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-kernel", str(image), "-initrd", str(initrd), "-append",
        # v1 must not come back by a mount; a panic ends the machine
        "console=ttyS0 loglevel=4 panic=-1 cgroup_no_v1=all mitigations=off nokaslr "
        f"random.trust_cpu=on no_timer_check {_QUICKLY} {options}",
        "-serial", f"file:{console}", "-serial", f"file:{results}",
        "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
    ]  # fmt: skip
    with console.open("ab") as errors:
        machine = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
    begun = heard = time.monotonic()
    said = 0
    try:
        while machine.poll() is None:
            now = time.monotonic()
            length = console.stat().st_size + results.stat().st_size
            if length != said:
                said, heard = length, now
            if now - heard > PATIENCE or now - begun > LONGEST:
                return False
            time.sleep(0.1)
        return True
    finally:
        machine.kill()
        machine.wait()


_INIT = """\
#!/bin/busybox sh
# made by tests/peers/vm.py
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in {modules}; do insmod /modules/$module.ko || echo "no module $module"; done
mount -t tmpfs tmpfs /written
mkdir /written/upper /written/work
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 host /host
mount -t overlay -o lowerdir=/host,upperdir=/written/upper,workdir=/written/work root /new
for place in dev proc sys; do mount --move /$place /new/$place; done
mkdir -p /new/dev/pts /new/dev/shm /new/dev/mqueue
mount -t devpts -o mode=620,ptmxmode=666 devpts /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
mount -t tmpfs -o mode=1777 tmpfs /new/tmp
mount -t tmpfs -o mode=1777 tmpfs /new/var/tmp
mount -t tmpfs -o mode=755 tmpfs /new/run
for place in {needed}; do # what is hidden now
    test -d /new$place || {{ mkdir -p /new$place; mount --bind /host$place /new$place; }}
done
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
ip link set lo up
cp /script /new/run/script
exec switch_root /new /bin/sh -c '
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH
    stty -F {results} raw
    sh /run/script
    echo end > {results}
    echo o > /proc/sysrq-trigger
    sleep 1000
'
"""


def _initramfs(script: str) -> bytes:
    """A cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    busybox = shutil.which("busybox", path="/usr/local/bin:/usr/bin:/bin")
    if busybox is None:
        raise VMFailed("no busybox: apt install busybox-static")
    parts = [
        _entry(name, 0o40755)
        for name in ("bin", "dev", "host", "modules", "new", "proc", "sys", "written")
    ]
    parts.append(_entry("bin/busybox", 0o100755, Path(busybox).read_bytes()))
    parts.append(_entry("dev/console", 0o20600, device=(5, 1)))
    parts += [_entry(f"modules/{name}.ko", 0o100644, _module(name)) for name in MODULES]
    needed = " ".join(shlex.quote(str(one)) for one in (ROOT, sys.prefix, sys.base_prefix))
    init = _INIT.format(modules=" ".join(MODULES), results=RESULTS, needed=needed)
    parts.append(_entry("init", 0o100755, init.encode()))
    parts.append(_entry("script", 0o100755, script.encode()))
    parts.append(_entry("TRAILER!!!", 0))
    return b"".join(parts)


def _module(name: str) -> bytes:
    plain, packed = KERNEL / f"{name}.ko", KERNEL / f"{name}.ko.xz"
    return plain.read_bytes() if plain.exists() else lzma.decompress(packed.read_bytes())


def _entry(
    name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
) -> bytes:  # fmt: skip
    path = os.fsencode(name) + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % one for one in numbers) + path
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
