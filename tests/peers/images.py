"""An image for the engines, made of busybox: the docker-archive that each of them can load.

No network and no tool: three files in a tar, as `docker save` writes them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

NAME = "docker.io/library/moby-test:1"
_BUSYBOX = "/bin/busybox"
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nmoby:x:1000:1001:moby:/home/moby:/bin/sh\n"
_GROUP = "root:x:0:\nmoby:x:1001:\ndocks:x:50:moby\n"


def write_image(path: Path) -> Path:
    """Write the docker-archive of `NAME` to `path`."""
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        "architecture": _architecture(), "os": "linux", "created": "2000-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin", "WHO=image"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "2000-01-01T00:00:00Z", "created_by": "the tests"}],
    }).encode()  # fmt: skip
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [{"Config": name, "RepoTags": [NAME], "Layers": [f"{digest}/layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, name, config)
        _add(tar, f"{digest}/layer.tar", layer)
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return path


def _layer() -> bytes:
    buffer = io.BytesIO()
    applets = subprocess.run(
        [_BUSYBOX, "--list"], capture_output=True, text=True, check=True
    ).stdout.split()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("bin", "dev", "etc", "home", "home/moby", "proc", "root", "sys", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        _add(tar, "bin/busybox", Path(_BUSYBOX).read_bytes(), 0o755)
        for applet in applets:
            if applet != "busybox":
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        _add(tar, "etc/passwd", _PASSWD.encode())
        _add(tar, "etc/group", _GROUP.encode())
        _add(tar, "etc/not-a-program", b"text\n")
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def _architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
