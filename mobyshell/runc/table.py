"""Every command with its flags, its module, and how many arguments it takes.

Owns what the parser must know; what people read is in `help`.
"""

from __future__ import annotations

from mobyshell.runc.flags import BOOL, LIST, NUMBER, SECONDS, TEXT

GLOBAL = {
    "debug": BOOL, "log": TEXT, "log-format": TEXT, "root": TEXT, "criu": TEXT,
    "systemd-cgroup": BOOL, "rootless": TEXT, "help": BOOL, "version": BOOL,
}  # fmt: skip
GLOBAL_SHORT = {"h": "help", "v": "version"}

_BUNDLE = {"b": "bundle"}
_START = {
    "bundle": TEXT, "console-socket": TEXT, "pidfd-socket": TEXT, "pid-file": TEXT,
    "no-pivot": BOOL, "no-new-keyring": BOOL, "preserve-fds": NUMBER,
}  # fmt: skip
_CRIU = {
    "image-path": TEXT, "work-path": TEXT, "tcp-established": BOOL, "tcp-skip-in-flight": BOOL,
    "link-remap": BOOL, "ext-unix-sk": BOOL, "shell-job": BOOL, "lazy-pages": BOOL,
    "file-locks": BOOL, "manage-cgroups-mode": TEXT, "empty-ns": LIST, "auto-dedup": BOOL,
}  # fmt: skip

MANY = 1 << 30

# module, flags, short names, flags may follow arguments, least and most arguments
COMMANDS: dict[str, tuple[str, dict[str, str], dict[str, str], bool, int, int]] = {
    "checkpoint": ("checkpoint", {
        **_CRIU, "parent-path": TEXT, "leave-running": BOOL, "status-fd": NUMBER,
        "page-server": TEXT, "pre-dump": BOOL,
    }, {}, True, 1, 1),
    "create": ("create", _START, _BUNDLE, True, 1, 1),
    "delete": ("delete", {"force": BOOL}, {"f": "force"}, True, 1, 1),
    "events": ("events", {"interval": SECONDS, "stats": BOOL}, {}, True, 1, 1),
    "exec": ("exec", {
        "console-socket": TEXT, "pidfd-socket": TEXT, "cwd": TEXT, "env": LIST, "tty": BOOL,
        "user": TEXT, "additional-gids": LIST, "process": TEXT, "detach": BOOL, "pid-file": TEXT,
        "process-label": TEXT, "apparmor": TEXT, "no-new-privs": BOOL, "cap": LIST,
        "preserve-fds": NUMBER, "cgroup": LIST, "ignore-paused": BOOL,
    }, {"e": "env", "t": "tty", "u": "user", "g": "additional-gids", "p": "process",
        "d": "detach", "c": "cap"}, False, 1, MANY),
    "features": ("features", {}, {}, True, 0, 0),
    "kill": ("kill", {"all": BOOL}, {"a": "all"}, True, 1, 2),
    "list": ("list", {"format": TEXT, "quiet": BOOL}, {"f": "format", "q": "quiet"}, True, 0, 0),
    "pause": ("pause", {}, {}, True, 1, 1),
    "ps": ("ps", {"format": TEXT}, {"f": "format"}, False, 1, MANY),
    "restore": ("checkpoint", {
        **_CRIU, "console-socket": TEXT, "bundle": TEXT, "detach": BOOL, "pid-file": TEXT,
        "no-subreaper": BOOL, "no-pivot": BOOL, "lsm-profile": TEXT, "lsm-mount-context": TEXT,
    }, {"b": "bundle", "d": "detach"}, True, 1, 1),
    "resume": ("pause", {}, {}, True, 1, 1),
    "run": ("create", {**_START, "detach": BOOL, "keep": BOOL, "no-subreaper": BOOL},
            {"b": "bundle", "d": "detach"}, True, 1, 1),
    "spec": ("spec", {"bundle": TEXT, "rootless": BOOL}, _BUNDLE, True, 0, 0),
    "start": ("start", {}, {}, True, 1, 1),
    "state": ("state", {}, {}, True, 1, 1),
    "update": ("update", {
        "resources": TEXT, "blkio-weight": NUMBER, "cpu-period": TEXT, "cpu-quota": TEXT,
        "cpu-burst": TEXT, "cpu-share": TEXT, "cpu-rt-period": TEXT, "cpu-rt-runtime": TEXT,
        "cpuset-cpus": TEXT, "cpuset-mems": TEXT, "cpu-idle": TEXT, "memory": TEXT,
        "memory-reservation": TEXT, "memory-swap": TEXT, "kernel-memory": TEXT,
        "kernel-memory-tcp": TEXT, "pids-limit": NUMBER, "l3-cache-schema": TEXT,
        "mem-bw-schema": TEXT,
    }, {"r": "resources"}, True, 1, 1),
}  # fmt: skip
