"""Security modules: which ones the kernel runs, and how a process asks one for a label.

Owns the names of their files. Who asks is a plan: a label is asked for by the process that will
carry it (lsm(7), proc_pid_attr(5), aa_change_onexec(2)).
"""

from __future__ import annotations

from mobyshell.core.values import value

_LIST = "/sys/kernel/security/lsm"
_FILESYSTEMS = "/proc/filesystems"
_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_OWN = "/proc/self/attr/current"


@value
class Module:
    """A module that labels programs. `name` for people, `key` as in lsm=, `file` in /proc where the
    label of the next execve is asked for, `form` what is written there."""

    name: str
    key: str
    file: str
    form: str


APPARMOR = Module("AppArmor", "apparmor", "/proc/self/attr/apparmor/exec", "exec {}")
SELINUX = Module("SELinux", "selinux", "/proc/self/attr/exec", "{}")

KEYS = "/proc/self/attr/keycreate"
"""Where SELinux is asked for the label of keys that are made from then on."""
XATTR = "security.selinux"
"""The extended attribute of a file by which SELinux knows it."""


def active() -> tuple[str, ...]:
    """The keys of the modules that run; where securityfs does not list them, of those two that can
    be seen elsewhere. SELinux is none of them until it has a policy: it takes any label then, and
    confines nobody."""
    listed = _read(_LIST)
    found = listed.strip().split(",") if listed else _seen()
    without_policy = _read(_OWN).rstrip("\0\n") == _NO_POLICY
    return tuple(one for one in found if one != SELINUX.key or not without_policy)


_NO_POLICY = "kernel"
"""SELinux's label of every process before a policy is loaded; those of policies have colons."""


def _seen() -> list[str]:
    found = []
    if _read(_APPARMOR).startswith("Y"):
        found.append(APPARMOR.key)
    if "selinuxfs" in _read(_FILESYSTEMS).split():
        # registered only where it was not switched off at boot
        found.append(SELINUX.key)
    return found


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
