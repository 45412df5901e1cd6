"""checkpoint and restore: a container to images and back, by criu(8)."""

from __future__ import annotations

import os

from mobyshell.core.checkpoint.criu.settings import Settings
from mobyshell.core.runtime.steps import run as steps
from mobyshell.runc.call import Call, Failure

_STATUS_FD = -1


def run(call: Call) -> int:
    """`checkpoint` or `restore`."""
    if os.geteuid() != 0:
        call.log.warning("runc checkpoint is untested with rootless containers")
    if call.command == "restore":
        from mobyshell.runc.restore import restore

        return restore(call, settings(call))
    runtime = call.runtime()
    runtime.state(call.id)  # the first thing to be wrong is the id
    steps(runtime.checkpoint(call.id, settings(call), note=call.log.warning))
    return 0


def settings(call: Call) -> Settings:
    """What the flags say. Failure for what they cannot say."""
    flags = call.flags
    image = os.path.abspath(flags.text("image-path") or "checkpoint")
    work = flags.text("work-path")
    for name in flags.list("empty-ns"):
        if name != "network":  # whose contents are left out anyway
            raise Failure(f'namespace "{name}" is not supported')
    return Settings(
        image_path=image,
        work_path=os.path.abspath(work) if work else "",
        parent_path=_parent(image, flags.text("parent-path")),
        program=call.options.text("criu") or "criu",
        leave_running=flags.on("leave-running"),
        tcp_established=flags.on("tcp-established"),
        tcp_skip_in_flight=flags.on("tcp-skip-in-flight"),
        link_remap=flags.on("link-remap"),
        ext_unix_sk=flags.on("ext-unix-sk"),
        shell_job=flags.on("shell-job"),
        lazy_pages=flags.on("lazy-pages"),
        file_locks=flags.on("file-locks"),
        pre_dump=flags.on("pre-dump"),
        auto_dedup=flags.on("auto-dedup"),
        status_fd=flags.number("status-fd", _STATUS_FD),
        page_server=_page_server(flags.text("page-server")),
        manage_cgroups=flags.text("manage-cgroups-mode"),
        lsm_profile=flags.text("lsm-profile"),
        lsm_mount_context=flags.text("lsm-mount-context"),
    )


def _parent(image: str, path: str) -> str:
    if not path:
        return ""
    if os.path.isabs(path):
        raise Failure("--parent-path must be relative")
    real = os.path.join(image, path)
    if not os.path.isdir(real):
        why = "not a directory" if os.path.lexists(real) else "no such file or directory"
        raise Failure(f"invalid --parent-path: stat {os.path.normpath(real)}: {why}")
    return path


def _page_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not address or not port:
        raise Failure("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdecimal() and int(port) < 1 << 16):
        raise Failure("Invalid port number")
    return address, int(port)
