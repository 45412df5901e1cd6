"""What `--help` says. Read by people, and by podman, which asks whether `checkpoint` is there."""

from __future__ import annotations

from mobyshell.runc.flags import BOOL
from mobyshell.runc.table import COMMANDS, GLOBAL, GLOBAL_SHORT
from mobyshell.runc.version import version

_GLOBALS = {
    "debug": "log what the runtime does, step by step",
    "log": "the file to log to (default: /dev/stderr)",
    "log-format": "text (default) or json",
    "root": "where the states of containers are kept; a tmpfs is a good place (default: /run/runc)",
    "criu": "the criu to checkpoint and restore with (default: criu)",
    "systemd-cgroup": "make cgroups through systemd; cgroupsPath is then slice:prefix:name",
    "rootless": "go on where cgroups are not permitted: true, false or auto (default)",
    "help": "show this",
    "version": "show the version",
}

# command → (arguments, in one line)
_COMMANDS = {
    "checkpoint": ("<container-id>", "save a running container to disk, by criu"),
    "create": ("<container-id>", "make a container from a bundle, up to its program's start"),
    "delete": ("<container-id>", "take back everything a container has held"),
    "events": ("<container-id>", "show counters, and when memory ran out"),
    "exec": ("<container-id> <command> [argument...]", "run one more process in a container"),
    "features": ("", "show what this runtime can do, as JSON"),
    "kill": ("<container-id> [signal]", "signal a container's init (default: SIGTERM)"),
    "list": ("", "list the containers of the root"),
    "pause": ("<container-id>", "freeze every process of a container"),
    "ps": ("<container-id> [ps options]", "show a container's processes"),
    "restore": ("<container-id>", "make a container of what checkpoint has saved"),
    "resume": ("<container-id>", "let a paused container run again"),
    "run": ("<container-id>", "create a container, start it, and wait for its end"),
    "spec": ("", "write a config.json to begin with"),
    "start": ("<container-id>", "run the program of a created container"),
    "state": ("<container-id>", "show what a container is and does, as JSON"),
    "update": ("<container-id>", "change the limits of a running container"),
}

_FLAGS = {
    "additional-gids": "one more group",
    "all": "every process of the container (obsolete)",
    "apparmor": "the AppArmor profile of the process",
    "auto-dedup": "punch what is saved twice out of earlier images",
    "blkio-weight": "share of block I/O, 10 to 1000",
    "bundle": "the directory with config.json (default: the current one)",
    "cap": "add a capability to the process",
    "cgroup": "run in an existing sub-cgroup: [controllers:]path",
    "console-socket": "a Unix socket that takes the terminal's master",
    "cpu-burst": "CPU time that may be saved up, in µs",
    "cpu-idle": "1: run only when nobody else wants to",
    "cpu-period": "period of the CPU quota, in µs",
    "cpu-quota": "CPU time in each period, in µs",
    "cpu-rt-period": "period of the real-time quota, in µs",
    "cpu-rt-runtime": "real-time CPU time in each period, in µs",
    "cpu-share": "weight against other containers",
    "cpuset-cpus": "the CPUs to use",
    "cpuset-mems": "the memory nodes to use",
    "cwd": "working directory in the container",
    "detach": "return when the program runs",
    "empty-ns": "make a namespace, but do not restore what was in it",
    "env": "set an environment variable",
    "ext-unix-sk": "allow connections to Unix sockets outside",
    "file-locks": "save file locks",
    "force": "kill it first if it runs",
    "format": "table (default) or json",
    "ignore-paused": "also in a paused container",
    "image-path": "the directory of the images",
    "interval": "how often counters are shown (default: 5s)",
    "keep": "do not delete the container at its end",
    "kernel-memory": "obsolete, ignored",
    "kernel-memory-tcp": "obsolete, ignored",
    "l3-cache-schema": "Intel RDT: L3 cache schema",
    "lazy-pages": "restore memory when it is used",
    "leave-running": "let the container run on",
    "link-remap": "link unlinked files back for the image",
    "lsm-mount-context": "security context of mounts",
    "lsm-profile": "security profile, TYPE:NAME",
    "manage-cgroups-mode": "soft (default), full, strict or ignore",
    "mem-bw-schema": "Intel RDT: memory bandwidth schema",
    "memory": "limit of memory, in bytes, or with k, m, g",
    "memory-reservation": "soft limit of memory",
    "memory-swap": "limit of memory and swap together; -1 for none",
    "no-new-keyring": "keep the caller's session keyring",
    "no-new-privs": "set no_new_privs",
    "no-pivot": "move the root over / instead of pivot_root; for a root on a ramdisk",
    "no-subreaper": "do not adopt orphans of the container",
    "page-server": "ADDRESS:PORT of a criu page server",
    "parent-path": "images of an earlier pre-dump",
    "pid-file": "the file to write the process's number to",
    "pidfd-socket": "a Unix socket that takes a pidfd of the process",
    "pids-limit": "how many processes there may be",
    "pre-dump": "save memory only, and let the container run on",
    "preserve-fds": "pass N more descriptors to the program, from 3 on",
    "process": "a file with the process as JSON",
    "process-label": "the SELinux label of the process",
    "quiet": "ids only",
    "resources": "a file with limits as JSON; - for standard input; other flags are then ignored",
    "rootless": "for a container without root",
    "shell-job": "allow a container that shares our session",
    "stats": "show counters once",
    "status-fd": "descriptor that criu reports to",
    "tcp-established": "save TCP connections",
    "tcp-skip-in-flight": "leave out connections that are being made",
    "tty": "with a terminal",
    "user": "UID[:GID]",
    "work-path": "the directory for logs and work files",
}
_HIDDEN = ("kernel-memory", "kernel-memory-tcp")


def overview() -> str:
    """The commands and global options."""
    commands = "".join(f"   {name:<12}{line}\n" for name, (_, line) in _COMMANDS.items())
    return (
        "NAME:\n   mobyshell-runc - Open Container Initiative runtime\n\n"
        "The runtime of the mobyshell workbench, with runc's command line: to be put where a "
        "machine has runc.\n\n"
        "USAGE:\n   mobyshell-runc [global options] command [command options] [arguments...]\n\n"
        f"VERSION:\n   {version()}\nCOMMANDS:\n{commands}\n"
        f"GLOBAL OPTIONS:\n{_rows(GLOBAL, GLOBAL_SHORT, _GLOBALS)}"
    )


def command(name: str) -> str:
    """One command and its options."""
    arguments, line = _COMMANDS[name]
    _, kinds, short, _, _, _ = COMMANDS[name]
    return (
        f"NAME:\n   mobyshell-runc {name} - {line}\n\n"
        f"USAGE:\n   mobyshell-runc {name} [command options] {arguments}\n\n"
        f"OPTIONS:\n{_rows(kinds, short, _FLAGS)}   \n"
    )


def _rows(kinds: dict[str, str], short: dict[str, str], texts: dict[str, str]) -> str:
    letters = {name: letter for letter, name in short.items()}
    rows = []
    for name, kind in kinds.items():
        if name in _HIDDEN:
            continue
        value = "" if kind == BOOL else " value"
        words = f"--{name}{value}"
        if name in letters:
            words += f", -{letters[name]}{value}"
        rows.append((words, texts[name]))
    width = max((len(words) for words, _ in rows), default=0) + 2
    return "".join(f"   {words:<{width}}{text}\n" for words, text in rows)
