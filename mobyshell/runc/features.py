"""features: what this runtime can do, as JSON (runtime-spec, features.md)."""

from __future__ import annotations

import json
import sys
from typing import Any

from mobyshell import __version__
from mobyshell.core.linux import capabilities, mount_options
from mobyshell.core.oci.linux import MEMORY_FLAGS, MEMORY_MODES
from mobyshell.runc.call import Call
from mobyshell.runc.version import CONTRACT

_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def run(call: Call) -> int:
    """`features`."""
    sys.stdout.write(json.dumps(features(), indent=4) + "\n")
    return 0


def features() -> dict[str, Any]:
    """The document. Names are those the parser takes; a kernel may know fewer."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.2.0",
        "hooks": list(_HOOKS),
        "mountOptions": list(mount_options.names()),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": list(capabilities.NAMES),
            "cgroup": {
                "v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True,
            },
            "seccomp": _seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "memoryPolicy": {"modes": list(MEMORY_MODES), "flags": list(MEMORY_FLAGS)},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "org.opencontainers.runc.checkpoint.enabled": "true",
            "org.opencontainers.runc.version": CONTRACT,
            "org.opencontainers.runc.commit": f"mobyshell-{__version__}",
            **_libraries(),
        },
        "potentiallyUnsafeConfigAnnotations": ["bundle", "org.systemd.property.", "org.criu.config"],
    }  # fmt: skip


def _libraries() -> dict[str, str]:
    from mobyshell.core.linux.seccomp import library_version

    found = library_version()
    return {"io.github.seccomp.libseccomp.version": found} if found else {}


def _seccomp() -> dict[str, Any]:
    from mobyshell.core.errors import Unsupported
    from mobyshell.core.linux.seccomp import binding
    from mobyshell.core.oci import seccomp as names

    try:
        binding()
    except Unsupported:
        return {"enabled": False}
    return {
        "enabled": True,
        "actions": sorted(names.ACTIONS),
        "operators": sorted(names.OPERATORS),
        "archs": sorted(names.ARCHITECTURES),
        "knownFlags": sorted(names.FLAGS),
        "supportedFlags": sorted(names.FLAGS),
    }
