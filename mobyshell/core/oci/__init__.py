"""The OCI specifications as data: typed values, validation, text in and out. Touches no kernel."""

from mobyshell.core.oci.defaults import default_spec
from mobyshell.core.oci.ids import check_id
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
    load_spec,
    parse_spec,
    spec_to_json,
    warnings_of,
    with_process,
)

__all__ = [
    "CPU", "BlockIO", "Capabilities", "ConsoleSize", "Device", "DeviceCgroup", "ExecCPUAffinity",
    "Hook", "Hooks", "HugepageLimit", "IDMapping", "IOPriority", "IntelRdt", "InterfacePriority",
    "Linux", "Memory", "MemoryPolicy", "Mount", "Namespace", "NetDevice", "Network", "Personality", "Pids",
    "Problem", "Process", "Rdma", "Resources", "Rlimit", "Root", "Scheduler", "Seccomp",
    "SeccompArg", "SeccompSyscall", "Spec", "ThrottleDevice", "TimeOffset", "User", "WeightDevice",
    "check", "check_id", "default_spec", "dump_spec", "examine", "load_spec", "parse_spec", "spec_to_json",
    "warnings_of", "with_process",
]  # fmt: skip
