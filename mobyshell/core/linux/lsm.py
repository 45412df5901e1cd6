"""Security modules: which ones the kernel runs, and how a process asks one for a label.

Owns the names of their files. Who asks is a plan: a label is asked for by the process that will
carry it (lsm(7), proc_pid_attr(5), aa_change_onexec(2)).
"""

from __future__ import annotations

from mobyshell.core.values import value

_LIST = "/sys/kernel/security/lsm"
_FILESYSTEMS = "/proc/filesystems"
_APPARMOR = "/sys/module/apparmor/parameters/enabled"


@value
class Module:
    """A module that labels programs. `name` for people, `key` as in lsm=, `file` in /proc where the
    label of the next execve is asked for, `form` what is written there, `option` setpriv(1)'s."""

    name: str
    key: str
    file: str
    form: str
    option: str


APPARMOR = Module(
    "AppArmor", "apparmor", "/proc/self/attr/apparmor/exec", "exec {}", "--apparmor-profile"
)
SELINUX = Module("SELinux", "selinux", "/proc/self/attr/exec", "{}", "--selinux-label")


def active() -> tuple[str, ...]:
    """The keys of the modules that run; where securityfs does not list them, of those two that can
    be seen elsewhere."""
    listed = _read(_LIST)
    if listed:
        return tuple(listed.strip().split(","))
    found = []
    if _read(_APPARMOR).startswith("Y"):
        found.append(APPARMOR.key)
    if "selinuxfs" in _read(_FILESYSTEMS).split():
        # registered only where it was not switched off at boot
        found.append(SELINUX.key)
    return tuple(found)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""
