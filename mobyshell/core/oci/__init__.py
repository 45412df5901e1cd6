"""The OCI specifications as data: typed values, validation, text in and out. Touches no kernel.

Names are loaded when they are asked for: whoever checks an id needs no model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobyshell.core.oci.defaults import default_spec
    from mobyshell.core.oci.descriptor import Descriptor, describe
    from mobyshell.core.oci.digest import Digest
    from mobyshell.core.oci.ids import check_id
    from mobyshell.core.oci.image_config import ImageConfig, chain_id, chain_ids
    from mobyshell.core.oci.image_spec import (
        dump_image,
        parse_document,
        parse_image_config,
        parse_index,
        parse_manifest,
    )
    from mobyshell.core.oci.index import Index
    from mobyshell.core.oci.kinds import Problem
    from mobyshell.core.oci.linux import (
        Device,
        IntelRdt,
        Linux,
        MemoryPolicy,
        Namespace,
        NetDevice,
        Personality,
        TimeOffset,
    )
    from mobyshell.core.oci.manifest import Manifest
    from mobyshell.core.oci.platform import Platform, host_platform, matcher, parse_platform
    from mobyshell.core.oci.process import (
        Capabilities,
        ConsoleSize,
        ExecCPUAffinity,
        Hook,
        Hooks,
        IDMapping,
        IOPriority,
        Mount,
        Process,
        Rlimit,
        Root,
        Scheduler,
        User,
    )
    from mobyshell.core.oci.reference import Reference, parse_reference
    from mobyshell.core.oci.resources import (
        CPU,
        BlockIO,
        DeviceCgroup,
        HugepageLimit,
        InterfacePriority,
        Memory,
        Network,
        Pids,
        Rdma,
        Resources,
        ThrottleDevice,
        WeightDevice,
    )
    from mobyshell.core.oci.seccomp import Seccomp, SeccompArg, SeccompSyscall
    from mobyshell.core.oci.spec import (
        Spec,
        check,
        dump_spec,
        examine,
        load_kept_spec,
        load_spec,
        parse_spec,
        read_spec,
        spec_to_json,
        warnings_of,
        with_process,
    )

__all__ = [
    "CPU", "BlockIO", "Capabilities", "ConsoleSize", "Descriptor", "Device", "DeviceCgroup",
    "Digest", "ExecCPUAffinity", "Hook", "Hooks", "HugepageLimit", "IDMapping", "IOPriority",
    "ImageConfig", "Index", "IntelRdt", "InterfacePriority", "Linux", "Manifest", "Memory",
    "MemoryPolicy", "Mount", "Namespace", "NetDevice", "Network", "Personality", "Pids", "Platform",
    "Problem", "Process", "Rdma", "Reference", "Resources", "Rlimit", "Root", "Scheduler",
    "Seccomp", "SeccompArg", "SeccompSyscall", "Spec", "ThrottleDevice", "TimeOffset", "User",
    "WeightDevice", "chain_id", "chain_ids", "check", "check_id", "default_spec", "describe",
    "dump_image", "dump_spec", "examine", "host_platform", "load_kept_spec", "load_spec", "matcher",
    "parse_document", "parse_image_config", "parse_index", "parse_manifest", "parse_platform",
    "parse_reference", "parse_spec", "read_spec", "spec_to_json", "warnings_of", "with_process",
]  # fmt: skip

_MODULES = {
    "defaults": "default_spec",
    "descriptor": "Descriptor describe",
    "digest": "Digest",
    "ids": "check_id",
    "image_config": "ImageConfig chain_id chain_ids",
    "image_spec": "dump_image parse_document parse_image_config parse_index parse_manifest",
    "index": "Index",
    "kinds": "Problem",
    "linux": "Device IntelRdt Linux MemoryPolicy Namespace NetDevice Personality TimeOffset",
    "manifest": "Manifest",
    "platform": "Platform host_platform matcher parse_platform",
    "process": "Capabilities ConsoleSize ExecCPUAffinity Hook Hooks IDMapping IOPriority Mount "
    "Process Rlimit Root Scheduler User",
    "reference": "Reference parse_reference",
    "resources": "CPU BlockIO DeviceCgroup HugepageLimit InterfacePriority Memory Network Pids Rdma "
    "Resources ThrottleDevice WeightDevice",
    "seccomp": "Seccomp SeccompArg SeccompSyscall",
    "spec": "Spec check dump_spec examine load_kept_spec load_spec parse_spec read_spec spec_to_json "
    "warnings_of with_process",
}  # fmt: skip
_WHERE = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = found
    return found
