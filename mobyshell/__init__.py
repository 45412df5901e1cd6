"""mobyshell: a workbench for the Moby building blocks (runC, containerd, LinuxKit).

    from mobyshell import Moby, with_image, with_image_config, with_new_snapshot, with_new_spec, stdio

Owns the version and the public names; importing it loads nothing, a name loads what it needs.
Options have the names of containerd's Go client where they do the same; where ours are shorter,
containerd's are there as well (`with_process_args` is `with_args`).
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would be the only import of `mobyshell-runc` from here
if TYPE_CHECKING:
    from mobyshell.core.errors import AlreadyExists as AlreadyExists
    from mobyshell.core.errors import MobyshellError as MobyshellError
    from mobyshell.core.errors import NotFound as NotFound
    from mobyshell.core.errors import Unsupported as Unsupported
    from mobyshell.core.errors import UsageError as UsageError
    from mobyshell.core.errors import WrongState as WrongState
    from mobyshell.core.oci import Mount as Mount
    from mobyshell.core.oci import Spec as Spec
    from mobyshell.moby.around import with_network as with_network
    from mobyshell.moby.around import with_port as with_port
    from mobyshell.moby.around import with_restart_policy as with_restart_policy
    from mobyshell.moby.around import with_streams as with_streams
    from mobyshell.moby.around import with_volume as with_volume
    from mobyshell.moby.asynchronous import AsyncContainer as AsyncContainer
    from mobyshell.moby.asynchronous import AsyncMoby as AsyncMoby
    from mobyshell.moby.asynchronous import AsyncProcess as AsyncProcess
    from mobyshell.moby.asynchronous import AsyncTask as AsyncTask
    from mobyshell.moby.client import Moby as Moby
    from mobyshell.moby.container import Container as Container
    from mobyshell.moby.container import with_extension as with_extension
    from mobyshell.moby.container import with_image as with_image
    from mobyshell.moby.container import with_image_labels as with_image_labels
    from mobyshell.moby.container import with_labels as with_labels
    from mobyshell.moby.container import with_new_snapshot as with_new_snapshot
    from mobyshell.moby.container import with_new_snapshot_view as with_new_snapshot_view
    from mobyshell.moby.container import with_new_spec as with_new_spec
    from mobyshell.moby.container import with_remapped_snapshot as with_remapped_snapshot
    from mobyshell.moby.container import with_runtime as with_runtime
    from mobyshell.moby.container import with_snapshot as with_snapshot
    from mobyshell.moby.container import with_snapshot_cleanup as with_snapshot_cleanup
    from mobyshell.moby.container import with_snapshotter as with_snapshotter
    from mobyshell.moby.container import with_spec as with_spec
    from mobyshell.moby.containerd_names import (
        with_additional_container_labels as with_additional_container_labels,
    )
    from mobyshell.moby.containerd_names import with_container_extension as with_container_extension
    from mobyshell.moby.containerd_names import with_container_labels as with_container_labels
    from mobyshell.moby.containerd_names import with_cpu_cfs as with_cpu_cfs
    from mobyshell.moby.containerd_names import with_linux_namespace as with_linux_namespace
    from mobyshell.moby.containerd_names import with_process_args as with_process_args
    from mobyshell.moby.containerd_names import with_process_cwd as with_process_cwd
    from mobyshell.moby.containerd_names import with_rootfs_readonly as with_rootfs_readonly
    from mobyshell.moby.containerd_names import with_tty as with_tty
    from mobyshell.moby.host_options import with_default_path_env as with_default_path_env
    from mobyshell.moby.host_options import with_domainname as with_domainname
    from mobyshell.moby.host_options import with_env_file as with_env_file
    from mobyshell.moby.host_options import with_host_hosts_file as with_host_hosts_file
    from mobyshell.moby.host_options import with_host_localtime as with_host_localtime
    from mobyshell.moby.host_options import with_host_resolvconf as with_host_resolvconf
    from mobyshell.moby.host_options import with_shm_size as with_shm_size
    from mobyshell.moby.host_options import without_mounts as without_mounts
    from mobyshell.moby.image import Image as Image
    from mobyshell.moby.limit_options import with_all_devices_allowed as with_all_devices_allowed
    from mobyshell.moby.limit_options import with_cpu_quota as with_cpu_quota
    from mobyshell.moby.limit_options import with_cpu_shares as with_cpu_shares
    from mobyshell.moby.limit_options import with_cpuset as with_cpuset
    from mobyshell.moby.limit_options import with_devices as with_devices
    from mobyshell.moby.limit_options import with_memory_swap as with_memory_swap
    from mobyshell.moby.limit_options import with_resources as with_resources
    from mobyshell.moby.run import Finished as Finished
    from mobyshell.moby.security_options import (
        with_ambient_capabilities as with_ambient_capabilities,
    )
    from mobyshell.moby.security_options import with_apparmor_profile as with_apparmor_profile
    from mobyshell.moby.security_options import with_capabilities as with_capabilities
    from mobyshell.moby.security_options import with_masked_paths as with_masked_paths
    from mobyshell.moby.security_options import with_no_new_privileges as with_no_new_privileges
    from mobyshell.moby.security_options import with_readonly_paths as with_readonly_paths
    from mobyshell.moby.security_options import with_seccomp as with_seccomp
    from mobyshell.moby.security_options import with_selinux_label as with_selinux_label
    from mobyshell.moby.spec_options import with_added_capabilities as with_added_capabilities
    from mobyshell.moby.spec_options import with_additional_gids as with_additional_gids
    from mobyshell.moby.spec_options import with_annotations as with_annotations
    from mobyshell.moby.spec_options import with_args as with_args
    from mobyshell.moby.spec_options import with_cgroup as with_cgroup
    from mobyshell.moby.spec_options import with_cpus as with_cpus
    from mobyshell.moby.spec_options import with_cwd as with_cwd
    from mobyshell.moby.spec_options import with_dropped_capabilities as with_dropped_capabilities
    from mobyshell.moby.spec_options import with_env as with_env
    from mobyshell.moby.spec_options import with_healthcheck as with_healthcheck
    from mobyshell.moby.spec_options import with_host_namespace as with_host_namespace
    from mobyshell.moby.spec_options import with_hostname as with_hostname
    from mobyshell.moby.spec_options import with_image_config as with_image_config
    from mobyshell.moby.spec_options import with_memory_limit as with_memory_limit
    from mobyshell.moby.spec_options import with_mounts as with_mounts
    from mobyshell.moby.spec_options import with_namespace as with_namespace
    from mobyshell.moby.spec_options import with_new_privileges as with_new_privileges
    from mobyshell.moby.spec_options import with_pids_limit as with_pids_limit
    from mobyshell.moby.spec_options import with_privileged as with_privileged
    from mobyshell.moby.spec_options import with_readonly_rootfs as with_readonly_rootfs
    from mobyshell.moby.spec_options import with_rlimit as with_rlimit
    from mobyshell.moby.spec_options import with_sysctls as with_sysctls
    from mobyshell.moby.spec_options import with_terminal as with_terminal
    from mobyshell.moby.spec_options import with_user as with_user
    from mobyshell.moby.spec_options import with_user_namespace as with_user_namespace
    from mobyshell.moby.task import Process as Process
    from mobyshell.moby.task import Task as Task
    from mobyshell.moby.task import null_io as null_io
    from mobyshell.moby.task import stdio as stdio
    from mobyshell.moby.task import streams as streams
    from mobyshell.moby.task import terminal as terminal

__version__ = "0.1.0"

_PUBLIC = {
    "moby.around": "with_network with_port with_restart_policy with_streams with_volume",
    "moby.asynchronous": "AsyncContainer AsyncMoby AsyncProcess AsyncTask",
    "moby.client": "Moby",
    "moby.container": (
        "Container with_extension with_image with_image_labels with_labels "
        "with_new_snapshot with_new_snapshot_view with_new_spec "
        "with_remapped_snapshot with_runtime with_snapshot "
        "with_snapshot_cleanup with_snapshotter with_spec"
    ),
    "moby.containerd_names": (
        "with_additional_container_labels with_container_extension "
        "with_container_labels with_cpu_cfs with_linux_namespace "
        "with_process_args with_process_cwd with_rootfs_readonly with_tty"
    ),
    "moby.host_options": (
        "with_default_path_env with_domainname with_env_file "
        "with_host_hosts_file with_host_localtime with_host_resolvconf "
        "with_shm_size without_mounts"
    ),
    "moby.image": "Image",
    "moby.limit_options": (
        "with_all_devices_allowed with_cpu_quota with_cpu_shares with_cpuset "
        "with_devices with_memory_swap with_resources"
    ),
    "moby.run": "Finished",
    "moby.security_options": (
        "with_ambient_capabilities with_apparmor_profile with_capabilities "
        "with_masked_paths with_no_new_privileges with_readonly_paths "
        "with_seccomp with_selinux_label"
    ),
    "moby.spec_options": (
        "with_added_capabilities with_additional_gids with_annotations "
        "with_args with_cgroup with_cpus with_cwd with_dropped_capabilities "
        "with_env with_healthcheck with_host_namespace with_hostname "
        "with_image_config with_memory_limit with_mounts with_namespace "
        "with_new_privileges with_pids_limit with_privileged "
        "with_readonly_rootfs with_rlimit with_sysctls with_terminal with_user "
        "with_user_namespace"
    ),
    "moby.task": "Process Task null_io stdio streams terminal",
    "core.errors": (
        "AlreadyExists MobyshellError NotFound Unsupported UsageError "
        "WrongState"
    ),
    "core.oci": "Mount Spec",
}  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "__all__":  # of `import *`
        return [one for names in _PUBLIC.values() for one in names.split()]
    for module, names in _PUBLIC.items():
        if name in names.split():
            from importlib import import_module

            return getattr(import_module(f"mobyshell.{module}"), name)
    raise AttributeError(f"module 'mobyshell' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(["__version__", *(one for names in _PUBLIC.values() for one in names.split())])
