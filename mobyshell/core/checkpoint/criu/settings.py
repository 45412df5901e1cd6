"""What a caller may want of criu: the options of runc's checkpoint and restore. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

CONFIGURATION = "org.criu.config"
"""The annotation that names a configuration file for criu; empty: none."""
DEFAULT_CONFIGURATION = "/etc/criu/runc.conf"


@dataclass(frozen=True, slots=True)
class Settings:
    """One checkpoint or restore. Paths are the host's.

    `program`: the criu to use, a name along PATH or a path. `work_path`: for logs, the images'
    directory if empty. `parent_path`: images of an earlier pre-dump, relative to `image_path`.
    `status_fd`: a descriptor that a zero byte is written to when lazy pages can be asked for.
    `manage_cgroups`: a key of `messages.CGROUP_MODES`.
    """

    image_path: str
    work_path: str = ""
    parent_path: str = ""
    program: str = "criu"
    leave_running: bool = False
    tcp_established: bool = False
    tcp_skip_in_flight: bool = False
    link_remap: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    lazy_pages: bool = False
    file_locks: bool = False
    pre_dump: bool = False
    auto_dedup: bool = False
    status_fd: int = -1
    page_server: tuple[str, int] | None = None
    manage_cgroups: str = ""
    lsm_profile: str = ""
    lsm_mount_context: str = ""
