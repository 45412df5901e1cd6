"""A stand-in for criu, where no criu works: it speaks the protocol, and saves and restores nothing.

Beside its own file it finds `plan.json`, what it is to do, and writes every request and answer to
`heard.json`, a JSON object a line. A dump kills the process, as criu's does; a restore makes a new
one (`sleep`), as the caller's child, and tells of it in criu's order.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from mobyshell.core.checkpoint.criu.messages import ANSWER, REQUEST, Ask
from mobyshell.core.checkpoint.criu.wire import decode, encode

HERE = Path(__file__).parent
CLONE_PARENT, SIGCHLD = 0x8000, 17


class StandIn:
    def __init__(self) -> None:
        self.plan: dict[str, Any] = json.loads((HERE / "plan.json").read_text())
        self.line = socket.socket(fileno=3)
        credentials = self.line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.asking = struct.unpack("=iii", credentials)[0]

    def note(self, **values: Any) -> None:
        with (HERE / "heard.json").open("a") as file:
            file.write(json.dumps(values) + "\n")

    def hear(self) -> dict[str, Any]:
        heard = decode(REQUEST, self.line.recv(65536))
        self.note(asked=heard)
        return heard

    def say(
        self, type: Ask, *, success: bool = True, fds: tuple[int, ...] = (), **values: Any
    ) -> None:
        data = encode(ANSWER, {"type": type, "success": success, **values})
        socket.send_fds(self.line, [data], fds)

    def notify(self, script: str, pid: int = 0, fds: tuple[int, ...] = ()) -> None:
        self.say(Ask.NOTIFY, notify={"script": script, "pid": pid}, fds=fds)
        if not self.hear().get("notify_success"):
            sys.exit(1)

    def run(self) -> None:
        asked = self.hear()
        kind, options = Ask(asked["type"]), asked.get("opts", {})
        if kind is Ask.VERSION:
            major, minor = self.plan.get("version", [4, 2])
            self.say(kind, version={"major_number": major, "minor_number": minor})
        elif kind is Ask.FEATURE_CHECK:
            self.say(kind, features=self.plan.get("features", {}))
        elif "fail" in self.plan:
            self.log(options, self.plan["fail"])
            self.say(kind, success=False, cr_errno=self.plan.get("errno", 0))
            sys.exit(1)
        elif kind is Ask.RESTORE:
            self.restore(options)
        else:
            self.dump(kind, options)

    def directory(self, options: dict[str, Any]) -> str:
        number = options.get("work_dir_fd", options["images_dir_fd"])
        return os.readlink(f"/proc/{self.asking}/fd/{number}")

    def log(self, options: dict[str, Any], text: str) -> None:
        path = f"{self.directory(options)}/{options['log_file']}"
        Path(path).write_text(f"(0.1) begins\n(0.2) Error (criu/x.c:1): {text}\n")

    def dump(self, kind: Ask, options: dict[str, Any]) -> None:
        pid = options["pid"]
        images = os.readlink(f"/proc/{self.asking}/fd/{options['images_dir_fd']}")
        self.note(images=images, work=self.directory(options))
        for script in ("pre-dump", "network-lock", "status-ready", "post-dump", "network-unlock"):
            self.notify(script, pid)
        if kind is Ask.DUMP and not options.get("leave_running"):
            os.kill(pid, 9)
        self.say(kind)
        if kind is Ask.PRE_DUMP:
            sys.exit(0 if self.line.recv(1) == b"" else 1)

    def restore(self, options: dict[str, Any]) -> None:
        mounts = Path("/proc/self/mountinfo").read_text()
        streams = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
        self.note(
            images=self.directory(options), mounted=f" {options['root']} " in mounts,
            cgroup=Path("/proc/self/cgroup").read_text(), streams=streams,
        )  # fmt: skip
        gate, go = os.pipe()
        libc = ctypes.CDLL(None, use_errno=True)
        pid = libc.syscall(56, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os.close(3)
            libc.read(gate, ctypes.create_string_buffer(1), 1)
            os.execvp("sleep", ["sleep", str(self.plan.get("seconds", 1000))])
        if self.plan.get("hang"):
            (HERE / "hangs").touch()
            self.line.recv(1)  # until nobody is there any more
            os.kill(pid, 9)
            sys.exit(1)
        try:
            self.notify("setup-namespaces", pid)
        except SystemExit:
            os.kill(pid, 9)
            raise
        if self.plan.get("terminal"):
            master, _ = os.openpty()
            os.write(master, b"")
            self.notify("orphan-pts-master", pid, (master,))
        self.notify("post-restore", pid)
        os.write(go, b"1")
        self.say(Ask.RESTORE, restore={"pid": pid})


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        complaint = json.loads((HERE / "plan.json").read_text()).get("check", "")
        sys.stderr.write(complaint)
        sys.exit(1 if complaint else 0)
    StandIn().run()
