"""User-mode networks: a program that speaks TCP/IP for a container, with nobody's help.

Owns the command lines of pasta(1) and slirp4netns(1), and the waiting until they are ready. Only the
worker starts them. They need no privilege, so they are what a user who is not root has.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import MobyshellError, SyscallFailed, TimedOut, Unsupported
from mobyshell.core.network import files
from mobyshell.core.network.values import PortMapping

if TYPE_CHECKING:
    from mobyshell.core.network.worker import Places

PROGRAMS = {"pasta": "passt", "slirp4netns": "slirp4netns"}
"""The programs, and the packages of Debian that they are in."""

TUN = "/dev/net/tun"
SLIRP_DNS = "10.0.2.3"
_READY_WITHIN = 30.0
_PLACES = "/usr/local/bin:/usr/bin:/bin"


def default() -> str:
    """The program for who names none: pasta, else slirp4netns. Unsupported if neither is installed."""
    for program in PROGRAMS:
        if _where(program) is not None:
            return program
    raise Unsupported(
        "without root a program carries what goes to published ports, and none is installed",
        hint="apt install passt (for pasta), or slirp4netns",
    )


def _where(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_PLACES}")


def find(program: str) -> str:
    """The path of a program. Unsupported, with its package, if it is not installed."""
    found = _where(program)
    if found is None:
        raise Unsupported(f"{program} is not installed", hint=f"apt install {PROGRAMS[program]}")
    return found


def pasta_words(
    path: str, netns: str, userns: str, ports: Sequence[PortMapping], pidfile: str
) -> list[str]:
    """pasta's command line. It takes over the host's addresses and routes, and by its own account
    what listens in the container is unseen from the host but for `ports`."""
    words = [path, "--config-net", "--quiet", "--no-map-gw", "-T", "none", "-U", "none"]
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        mine = [one for one in ports if one.protocol == protocol]
        for one in mine:
            host = f"{one.host_ip}/" if one.host_ip else ""
            words += [flag, f"{host}{one.host_port}:{one.container_port}"]
        if not mine:
            words += [flag, "none"]
    words += ["--userns", userns] if userns else ["--netns-only"]
    if os.geteuid() == 0:
        words += ["--runas", "0:0"]
    return [*words, "--pid", pidfile, "--netns", netns]


def slirp_words(path: str, netns: str, userns: str, ready: int, api: str) -> list[str]:
    """slirp4netns' command line. The host's loopback stays the host's."""
    words = [path, "--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={ready}",
             f"--api-socket={api}", "--netns-type=path"]  # fmt: skip
    words += [f"--userns-path={userns}"] if userns else []
    return [*words, netns, "tap0"]


def start(
    places: Places, *, program: str, netns: str, userns: str, ports: Sequence[Mapping[str, Any]],
    pidfile: str,
) -> None:  # fmt: skip
    """Start the program; the container has a network when this returns."""
    path = find(program)
    if not os.access(TUN, os.R_OK | os.W_OK):
        raise Unsupported(f"{program} needs {TUN}, which this user may not open, or is not there",
                          hint=f"as root: modprobe tun; chmod 666 {TUN}, as udev does")  # fmt: skip
    mapped = [PortMapping.from_json(one) for one in ports]
    if any(one.protocol == "sctp" for one in mapped):
        raise Unsupported(f"{program} publishes no SCTP ports")
    if program == "pasta":
        _start_pasta(path, netns, userns, mapped, pidfile)
    else:
        _start_slirp(path, netns, userns, mapped, pidfile)


def _start_pasta(
    path: str, netns: str, userns: str, ports: Sequence[PortMapping], pidfile: str
) -> None:
    # it goes to the background when everything is ready; its own pid file has no start time
    own, log = f"{pidfile}.own", f"{pidfile}.log"
    # it gives up what it would need to open them, before it does: so they are opened here
    fds = [_open(one) for one in (netns, userns) if one]
    there = [f"/proc/self/fd/{one}" for one in fds]
    words = pasta_words(path, there[0], there[1] if userns else "", ports, own)
    with open(log, "wb") as said:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                              pass_fds=fds, check=False)  # fmt: skip
    for one in fds:
        os.close(one)
    if done.returncode:
        raise MobyshellError(f"pasta: {_last_words(log)}")
    with open(own) as file:
        pid = int(file.read())
    _record(pidfile, pid)


def _start_slirp(
    path: str, netns: str, userns: str, ports: Sequence[PortMapping], pidfile: str
) -> None:
    # a relative name: the path of a socket has at most 107 bytes (unix(7))
    directory, name = os.path.split(pidfile)
    api, log = f"{name}.api", f"{pidfile}.log"
    ready, told = os.pipe()
    with open(log, "wb") as said:
        process = subprocess.Popen(
            slirp_words(path, netns, userns, told, api), stdin=subprocess.DEVNULL, stdout=said,
            stderr=said, pass_fds=(told,), start_new_session=True, cwd=directory,
        )  # fmt: skip
    os.close(told)
    _record(pidfile, process.pid)
    with os.fdopen(ready, "rb") as end:
        if not end.read(1):
            process.wait()
            raise MobyshellError(f"slirp4netns: {_last_words(log)}")
    if ports:
        os.chdir(directory)
    for one in ports:
        _forward(api, one)


def _forward(api: str, port: PortMapping) -> None:
    """Publish a port by slirp4netns' socket: one request per connection."""
    request = {"execute": "add_hostfwd", "arguments": {
        "proto": port.protocol, "host_addr": port.host_ip or "0.0.0.0",
        "host_port": port.host_port, "guest_port": port.container_port,
    }}  # fmt: skip
    until = time.monotonic() + _READY_WITHIN
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            try:
                line.connect(api)
            except OSError:
                if time.monotonic() > until:
                    raise TimedOut("slirp4netns does not answer") from None
                time.sleep(0.01)
                continue
            line.sendall(json.dumps(request).encode())
            line.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: line.recv(4096), b""))
        if b'"error"' in answer:
            raise MobyshellError(f"slirp4netns cannot publish {port}: {answer.decode()[:200]}")
        return


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=path) from None


def _record(pidfile: str, pid: int) -> None:
    files.write(pidfile, f"{pid} {files.start_time(pid)}\n".encode())


def _last_words(log: str) -> str:
    with open(log, "rb") as file:
        lines = file.read(1 << 16).decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it failed without a word"
