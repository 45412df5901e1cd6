"""What each kind of namespace is for, in the words of a workshop; the man page knows the rest."""

from __future__ import annotations

from mobyshell.core.values import value


@value
class Explanation:
    """A kind: `flag` makes one, `isolates` in half a sentence, `text` in a few, `man` in full;
    `try_it` is a command that shows it."""

    kind: str
    flag: str
    isolates: str
    text: str
    man: str
    try_it: str


EXPLANATIONS = {one.kind: one for one in (
    Explanation(
        "mnt", "CLONE_NEWNS", "which filesystems are mounted where",
        "Each mount namespace has its own list of mounts. A new one starts as a copy; from then on "
        "a mount in it is seen in it alone, except where a mount is shared and the event travels "
        "(propagation). This is what gives a container its own root: its image is mounted, and "
        "pivot_root(2) makes that the root, of this list only.",
        "mount_namespaces(7)",
        "unshare --mount sh -c 'mount -t tmpfs t /mnt; findmnt /mnt'; findmnt /mnt",
    ),
    Explanation(
        "uts", "CLONE_NEWUTS", "host name and NIS domain name",
        "The smallest kind: two strings. A container can call itself what it likes, and the host "
        "keeps its own name. The name is that of the `struct utsname` of uname(2), where they are "
        "read from: UNIX Time-sharing System.",
        "uts_namespaces(7)",
        "unshare --uts sh -c 'hostname inside; hostname'; hostname",
    ),
    Explanation(
        "ipc", "CLONE_NEWIPC", "System V IPC and POSIX message queues",
        "Message queues, semaphores and shared memory that have a key instead of a path. Two "
        "containers can use the same key without meeting. When the namespace ends, they are gone. "
        "POSIX shared memory is not in here: it is files in /dev/shm, so the mount namespace's.",
        "ipc_namespaces(7)",
        "unshare --ipc sh -c 'ipcmk -Q; ipcs -q'; ipcs -q",
    ),
    Explanation(
        "pid", "CLONE_NEWPID", "process numbers",
        "The first process in it is number 1 there: init. It gets the orphans, and when it ends, "
        "the kernel kills all others, and nobody can come in any more. They nest: a process has a "
        "number in its own pid namespace and one in each around it, so the host sees everybody. A "
        "process never changes its own; unshare(2) and setns(2) change where its children will be.",
        "pid_namespaces(7)",
        "unshare --pid --fork --mount-proc ps -e",
    ),
    Explanation(
        "net", "CLONE_NEWNET", "network devices, addresses, routes, firewall, ports",
        "A new one has a loopback device, which is down, and nothing else. A container is connected "
        "by a veth pair: one end in here, the other at a bridge of the host. `ip netns add` makes "
        "one without a process, by mounting its file at /run/netns. Abstract unix sockets are in "
        "here, too; those with a path are not.",
        "network_namespaces(7)",
        "unshare --net ip link",
    ),
    Explanation(
        "user", "CLONE_NEWUSER", "user and group ids, and capabilities",
        "Its maps say which ids in here are which ids outside. Who makes one has all capabilities "
        "in it, and over what it owns, and not one more outside: that is how a container is made "
        "without root. Every other namespace is owned by a user namespace, and a capability counts "
        "for a namespace only if it is held in its owner or further up.",
        "user_namespaces(7)",
        "unshare --user --map-root-user sh -c 'id -u; cat /proc/self/uid_map'",
    ),
    Explanation(
        "cgroup", "CLONE_NEWCGROUP", "where the tree of cgroups seems to begin",
        "It limits nothing; the cgroup does. It hides what is above: the cgroup that a process is "
        "in when the namespace is made becomes `/` for /proc/self/cgroup and for mounts of cgroup2 "
        "in it. What is outside is seen as a path with `..`.",
        "cgroup_namespaces(7)",
        "unshare --cgroup cat /proc/self/cgroup",
    ),
    Explanation(
        "time", "CLONE_NEWTIME", "offsets of the clocks CLOCK_MONOTONIC and CLOCK_BOOTTIME",
        "Two numbers, added when these clocks are read; the time of day is the same everywhere. "
        "They are set before the first process is in it: unshare(2) leaves the caller outside, and "
        "its children are in. Made for containers that are moved to another machine, whose clocks "
        "must not jump back.",
        "time_namespaces(7)",
        "unshare --time --boottime 86400 uptime --pretty",
    ),
)}  # fmt: skip
"""By kind."""
