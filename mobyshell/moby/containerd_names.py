"""Options under the names that containerd's client has for them, where ours are shorter."""

from __future__ import annotations

from mobyshell.moby.container import with_extension, with_labels
from mobyshell.moby.limit_options import with_cpu_quota
from mobyshell.moby.spec_options import (
    with_args,
    with_cwd,
    with_namespace,
    with_readonly_rootfs,
    with_terminal,
)

with_additional_container_labels = with_container_labels = with_labels
with_container_extension = with_extension
with_cpu_cfs = with_cpu_quota
with_linux_namespace = with_namespace
with_process_args = with_args
with_process_cwd = with_cwd
with_rootfs_readonly = with_readonly_rootfs
with_tty = with_terminal
