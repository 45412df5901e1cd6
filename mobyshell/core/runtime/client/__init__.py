"""A typed client for any OCI runtime: runc, crun, mobyshell-runc, whatever takes runc's commands."""

from mobyshell.core.runtime.client.console import ConsoleSocket
from mobyshell.core.runtime.client.log import LogEntry
from mobyshell.core.runtime.client.options import (
    CheckpointOptions,
    CreateOptions,
    ExecOptions,
    GlobalOptions,
    Limits,
    RestoreOptions,
    RunOptions,
)
from mobyshell.core.runtime.client.runc import Runc
from mobyshell.core.runtime.client.values import ContainerState, Features, RuntimeEvent, Version
from mobyshell.core.runtime.client.verbs import RuncVerbs, read_pid_file

__all__ = [
    "CheckpointOptions", "ConsoleSocket", "ContainerState", "CreateOptions", "ExecOptions",
    "Features", "GlobalOptions", "Limits", "LogEntry", "RestoreOptions", "RunOptions", "Runc",
    "RuncVerbs", "RuntimeEvent", "Version", "read_pid_file",
]  # fmt: skip
