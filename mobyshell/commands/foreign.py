"""What other programs call it: words and options of docker, podman, ctr and runc, and ours for them.

Owns hints only, and is loaded when a word or an option is not known. Nothing here makes a foreign
word work.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Collection

_OURS = {
    "images": "image ls", "rmi": "image rm", "load": "image import", "save": "image export",
    "tasks": "task ls", "containers": "container ls", "snapshots": "snapshot ls",
    "namespaces": "namespace ls", "leases": "lease ls", "networks": "network ls",
    "volumes": "volume ls", "list": "task ls", "state": "task inspect", "port": "task inspect",
    "unpause": "task resume", "info": "doctor", "features": "doctor", "plugins": "doctor",
    "system": "store gc", "prune": "store gc", "df": "snapshot usage", "explain": "task trace",
    "builder": "image build", "buildx": "image build", "oci": "bundle spec",
    "pprof": "debug flame", "shim": "debug ls", "c": "container ls", "i": "image ls",
    "t": "task ls", "content fetch": "image pull", "content push-object": "image push",
    "task metrics": "task stats", "image save": "image export", "image load": "image import",
    "image check": "store check", "image prune": "store gc", "image usage": "snapshot usage",
    "container ps": "container ls", "container port": "task inspect",
    "container diff": "snapshot diff", "snapshot unpack": "image unpack",
}  # fmt: skip
"""Foreign commands, and those of ours that do the same."""

_SAID = {
    "cp": "`mobyshell exec ID tar …`, or a directory that both have: run -v /directory:/path",
    "commit": "`mobyshell image build` makes images; `mobyshell snapshot commit` is a layer's",
    "login": "logins of docker, podman and skopeo are used; or `mobyshell image pull --user NAME`",
    "logout": "there are no logins but those of docker, podman and skopeo",
    "rename": "a name is for good; `run --name NAME` gives it",
    "checkpoint": "`mobyshell-runc checkpoint`, by itself or called by podman, docker, ctr",
    "restore": "`mobyshell-runc restore`, by itself or called by podman, docker, ctr",
    "compose": "`mobyshell repl FILE` runs lines; tasks of one network find each other by name",
    "pod": "`mobyshell run --network container:ID` shares the network of another",
    "container prune": "mobyshell repl -c 'task ls -a | where status=stopped | each rm'",
    "network prune": "mobyshell repl -c 'network ls | where tasks=0 | each network rm'",
}
"""Foreign commands for which a sentence is needed."""

_SAME = (
    ("ls", "list"), ("rm", "delete", "remove", "del"), ("inspect", "info", "show", "state"),
    ("new", "create", "add"), ("resume", "unpause"), ("unmount", "umount"),
)  # fmt: skip
"""Verbs that mean the same; each noun has one of them."""

_IN_PYTHON = {
    "--device": "with_devices", "--sysctl": "with_sysctls", "--ulimit": "with_rlimit",
    "--shm-size": "with_shm_size", "--tmpfs": "with_mounts", "--seccomp": "with_seccomp",
    "--security-opt": "with_seccomp", "--apparmor": "with_apparmor_profile",
    "--userns": "with_user_namespace", "--pid": "with_host_namespace",
    "--ipc": "with_host_namespace", "--uts": "with_host_namespace",
    "--group-add": "with_additional_gids", "--cpu-shares": "with_cpu_shares",
    "--cpuset-cpus": "with_cpuset", "--memory-swap": "with_memory_swap",
    "--annotation": "with_annotations", "--env-file": "with_env_file",
    "--cgroup-parent": "with_cgroup",
}  # fmt: skip
"""Foreign options that only the library has."""

_OPTIONS = {
    "-n": "--namespace NAME", "-q": "by itself, as in ps -a -q", "--format": "--json, --yaml, --table or -q",
    "--no-trunc": "nothing is cut where the output is no terminal, as in … | cat",
    "--bundle": "the bundle is a word: mobyshell task run BUNDLE",
    "-b": "the bundle is a word: mobyshell task run BUNDLE",
    "--mount": "-v NAME:/path[:ro], or -v /directory:/path[:ro]",
    "--publish-all": "-p PORT, for each: of the host one is chosen",
    "-P": "-p PORT, for each: of the host one is chosen",
    "--link": "tasks of one --network find each other by name",
    "--ip": "--network NAME:ip=ADDRESS", "--network-alias": "--network NAME:alias=NAME",
    "--net-host": "--network host", "--expose": "neighbours reach every port; -p for others",
    "--since": "-n LINES for the last, -t for their times", "--log-level": "--debug",
    "--no-stream": "`mobyshell task stats` looks once", "--address": "there is no daemon to ask",
    "task ls -f": "mobyshell repl -c 'task ls -a | where status=stopped'",
    "task ls --filter": "mobyshell repl -c 'task ls -a | where status=stopped'",
    "image ls -f": "filters are words: image ls name~=box",
    "image ls --filter": "filters are words: image ls name~=box",
    "image ls -a": "all are listed", "container ls -a": "all are listed",
    "container ls --all": "all are listed", "image rm -f": "leave it away: only names are removed",
    "image rm --force": "leave it away: only names are removed",
    "task exec --privileged": "`mobyshell ns enter ID` keeps all capabilities",
}  # fmt: skip
"""Foreign options, alone or behind the verb of ours they were given to, and what to say instead."""


def word(noun: str, name: str = "", known: Collection[str] = ()) -> str:
    """A hint for a word that is no noun; or for `name`, where the verbs of `noun` are `known`.
    "" if it is not a word of another program's, either."""
    said = f"{noun} {name}".strip()
    if said in _SAID:
        return _SAID[said]
    ours = _OURS.get(said, "")
    for same in _SAME:
        if not ours and name in same:
            ours = next((f"{noun} {one}" for one in same if one in known), "")
    return f"`mobyshell {ours}`" if ours else ""


def option(verb: str, flag: str) -> str:
    """A hint for an option that `verb` does not have; "" if it is no other program's, either."""
    if flag in _IN_PYTHON and verb.partition(" ")[2] in ("run", "create"):
        return f"no option says it: `{_IN_PYTHON[flag]}` in Python, config.json in a bundle"
    return _OPTIONS.get(f"{verb} {flag}") or _OPTIONS.get(flag, "")
