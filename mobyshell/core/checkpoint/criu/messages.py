"""The messages of criu's RPC, as far as they are used here (criu.org/RPC). Pure data."""

from __future__ import annotations

from enum import IntEnum

from mobyshell.core.checkpoint.criu.wire import Field, Kind, Schema


class Ask(IntEnum):
    """What is asked, and what an answer answers."""

    EMPTY = 0
    DUMP = 1
    RESTORE = 2
    CHECK = 3
    PRE_DUMP = 4
    NOTIFY = 6
    FEATURE_CHECK = 9
    VERSION = 10


CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5, "": 6}
"""How cgroups are restored; "" is criu's default, soft."""


def _int(number: int) -> Field:
    return Field(number, Kind.INT)


def _flag(number: int) -> Field:
    return Field(number, Kind.BOOL)


def _text(number: int, *, many: bool = False) -> Field:
    return Field(number, Kind.TEXT, many=many)


def _of(number: int, schema: Schema, *, many: bool = False) -> Field:
    return Field(number, Kind.MESSAGE, schema, many)


PAGE_SERVER: Schema = {"address": _text(1), "port": _int(2)}
EXTERNAL_MOUNT: Schema = {"key": _text(1), "val": _text(2)}
JOINED: Schema = {"ns": _text(1), "ns_file": _text(2)}
INHERITED: Schema = {"key": _text(1), "fd": _int(2)}
CGROUP_ROOT: Schema = {"ctrl": _text(1), "path": _text(2)}

OPTIONS: Schema = {
    # descriptors of the asking process, which criu finds under its /proc/PID/fd
    "images_dir_fd": _int(1), "work_dir_fd": _int(17), "status_fd": _int(49),
    "pid": _int(2), "leave_running": _flag(3), "ext_unix_sk": _flag(4),
    "tcp_established": _flag(5), "evasive_devices": _flag(6), "shell_job": _flag(7),
    "file_locks": _flag(8), "log_level": _int(9), "log_file": _text(10),
    "ps": _of(11, PAGE_SERVER), "notify_scripts": _flag(12), "root": _text(13),
    "parent_img": _text(14), "track_mem": _flag(15), "auto_dedup": _flag(16),
    "link_remap": _flag(18), "ext_mnt": _of(23, EXTERNAL_MOUNT, many=True),
    "manage_cgroups": _flag(24), "cg_root": _of(25, CGROUP_ROOT, many=True),
    "rst_sibling": _flag(26),
    # descriptors of criu's own, which it was started with
    "inherit_fd": _of(27, INHERITED, many=True),
    "manage_cgroups_mode": _int(34), "external": _text(37, many=True), "empty_ns": _int(38),
    "join_ns": _of(39, JOINED, many=True), "freeze_cgroup": _text(44),
    "tcp_skip_in_flight": _flag(46), "lazy_pages": _flag(48), "orphan_pts_master": _flag(50),
    "config_file": _text(51), "lsm_profile": _text(53), "lsm_mount_context": _text(63),
}  # fmt: skip

FEATURES: Schema = {"mem_track": _flag(1), "lazy_pages": _flag(2)}

REQUEST: Schema = {
    "type": _int(1), "opts": _of(2, OPTIONS), "notify_success": _flag(3),
    "features": _of(5, FEATURES),
}  # fmt: skip

VERSION: Schema = {
    "major_number": _int(1), "minor_number": _int(2), "gitid": _text(3), "sublevel": _int(4),
}  # fmt: skip

ANSWER: Schema = {
    "type": _int(1), "success": _flag(2), "restore": _of(4, {"pid": _int(1)}),
    "notify": _of(5, {"script": _text(1), "pid": _int(2)}), "cr_errno": _int(7),
    "features": _of(8, FEATURES), "cr_errmsg": _text(9), "version": _of(10, VERSION),
}  # fmt: skip
