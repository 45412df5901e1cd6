"""mobyshell: a workbench for the Moby building blocks (runC, containerd, LinuxKit).

    from mobyshell import Moby, with_image, with_image_config, with_new_snapshot, with_new_spec, stdio

Owns the version and the public names; importing it loads nothing, a name loads what it needs.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would be the only import of `mobyshell-runc` from here
if TYPE_CHECKING:
    from mobyshell.moby.around import with_network as with_network
    from mobyshell.moby.around import with_port as with_port
    from mobyshell.moby.around import with_restart_policy as with_restart_policy
    from mobyshell.moby.around import with_volume as with_volume
    from mobyshell.moby.asynchronous import AsyncMoby as AsyncMoby
    from mobyshell.moby.client import Moby as Moby
    from mobyshell.moby.container import with_image as with_image
    from mobyshell.moby.container import with_labels as with_labels
    from mobyshell.moby.container import with_new_snapshot as with_new_snapshot
    from mobyshell.moby.container import with_new_snapshot_view as with_new_snapshot_view
    from mobyshell.moby.container import with_new_spec as with_new_spec
    from mobyshell.moby.container import with_remapped_snapshot as with_remapped_snapshot
    from mobyshell.moby.container import with_runtime as with_runtime
    from mobyshell.moby.container import with_snapshot as with_snapshot
    from mobyshell.moby.container import with_snapshot_cleanup as with_snapshot_cleanup
    from mobyshell.moby.container import with_spec as with_spec
    from mobyshell.moby.spec_options import with_args as with_args
    from mobyshell.moby.spec_options import with_cpus as with_cpus
    from mobyshell.moby.spec_options import with_cwd as with_cwd
    from mobyshell.moby.spec_options import with_env as with_env
    from mobyshell.moby.spec_options import with_hostname as with_hostname
    from mobyshell.moby.spec_options import with_image_config as with_image_config
    from mobyshell.moby.spec_options import with_memory_limit as with_memory_limit
    from mobyshell.moby.spec_options import with_mounts as with_mounts
    from mobyshell.moby.spec_options import with_pids_limit as with_pids_limit
    from mobyshell.moby.spec_options import with_readonly_rootfs as with_readonly_rootfs
    from mobyshell.moby.spec_options import with_user as with_user
    from mobyshell.moby.spec_options import with_user_namespace as with_user_namespace
    from mobyshell.moby.task import null_io as null_io
    from mobyshell.moby.task import stdio as stdio
    from mobyshell.moby.task import streams as streams
    from mobyshell.moby.task import terminal as terminal

__version__ = "0.1.0"

_PUBLIC = {
    "around": ("with_network", "with_port", "with_restart_policy", "with_volume"),
    "asynchronous": ("AsyncMoby",),
    "client": ("Moby",),
    "container": ("with_image", "with_labels", "with_new_snapshot", "with_new_snapshot_view",
                  "with_new_spec", "with_remapped_snapshot", "with_runtime", "with_snapshot",
                  "with_snapshot_cleanup", "with_spec"),
    "spec_options": ("with_args", "with_cpus", "with_cwd", "with_env", "with_hostname",
                     "with_image_config", "with_memory_limit", "with_mounts", "with_pids_limit",
                     "with_readonly_rootfs", "with_user", "with_user_namespace"),
    "task": ("null_io", "stdio", "streams", "terminal"),
}  # fmt: skip


def __getattr__(name: str) -> object:
    for module, names in _PUBLIC.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"mobyshell.moby.{module}"), name)
    raise AttributeError(f"module 'mobyshell' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(["__version__", *(name for names in _PUBLIC.values() for name in names)])
