"""A policy for SELinux as small as one can be, in CIL (secilc(8)).

What no class or permission is declared for is allowed; of what is declared, everybody may
everything, but a container may not read `secret_t` nor use keys of other types.
"""

from __future__ import annotations

# in the kernel's order (security/selinux/include/initial_sid_to_string.h): their places count
_INITIAL = (
    "kernel", "security", "unlabeled", "fs", "file", "file_labels", "init",
    "any_socket", "port", "netif", "netmsg", "node", "igmp_packet", "icmp_socket",
    "tcp_socket", "sysctl_modprobe", "sysctl", "sysctl_fs", "sysctl_kernel", "sysctl_net", "sysctl_net_unix",
    "sysctl_vm", "sysctl_dev", "kmod", "policy", "scmp_packet", "devnull",
)  # fmt: skip
_BY_ATTRIBUTE = ("tmpfs", "devpts", "mqueue", "devtmpfs")
_BY_PATH = ("proc", "sysfs", "cgroup2", "9p")

_FILE = "(u object_r file_t (low low))"
_LINES = (
    "(handleunknown allow) (mls true) (policycap nnp_nosuid_transition)",
    # dir: without it the kernel takes no change of a directory's label
    "(class process (transition dyntransition)) (class file (read)) (class dir (relabelfrom))",
    "(class key (view read search write)) (classorder (process file dir key))",
    *(f"(sid {one})" for one in _INITIAL),
    f"(sidorder ({' '.join(_INITIAL)}))",
    "(sensitivity s0) (sensitivityorder (s0))",
    "(category c0) (category c1) (category c2) (categoryorder (c0 c1 c2))",
    "(sensitivitycategory s0 (range c0 c2))",
    "(level low (s0)) (level high (s0 (range c0 c2))) (levelrange all (low high))",
    "(user u) (role r) (role object_r) (userrole u r) (userrole u object_r)",
    "(userlevel u low) (userrange u all)",
    "(type host_t) (type file_t) (type container_t) (type other_t) (type content_t) (type secret_t)",
    "(typeattribute any)",
    "(typeattributeset any (host_t file_t container_t other_t content_t secret_t))",
    "(roletype r any) (roletype object_r any)",
    "(sidcontext kernel (u r host_t (low low)))",
    *(f"(sidcontext {one} {_FILE})" for one in _INITIAL[1:]),
    *(f"(fsuse trans {one} {_FILE})" for one in _BY_ATTRIBUTE),
    f"(fsuse xattr overlay {_FILE})",
    "(fsuse task pipefs (u r host_t (low low))) (fsuse task sockfs (u r host_t (low low)))",
    *(f"(genfscon {one} / {_FILE})" for one in _BY_PATH),
    "(typeattribute host) (typeattributeset host (and any (not container_t)))",
    "(typeattribute open) (typeattributeset open (and any (not secret_t)))",
    "(allow any any (process (all))) (allow any any (dir (all)))",
    "(allow host any (file (all))) (allow container_t open (file (all)))",
    "(allow host any (key (all))) (allow container_t container_t (key (all)))",
)

POLICY = "\n".join(_LINES) + "\n"
