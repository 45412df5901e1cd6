"""Talking with criu, in steps: a question, notifications in between, the answer. And its failures.

Owns what checkpoint and restore have in common; the process and its words are
`core/checkpoint/criu`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from mobyshell.core.checkpoint.criu import log, program
from mobyshell.core.checkpoint.criu.messages import CGROUP_MODES, Ask
from mobyshell.core.checkpoint.criu.service import Answer, Service
from mobyshell.core.checkpoint.criu.settings import (
    CONFIGURATION,
    DEFAULT_CONFIGURATION,
    Settings,
)
from mobyshell.core.errors import (
    CheckpointFailed,
    MobyshellError,
    SyscallFailed,
    Unsupported,
    UsageError,
)
from mobyshell.core.oci import Spec
from mobyshell.core.runtime.steps import Readable, Steps

Version = tuple[int, int, int]
Notified = Callable[[Answer], Steps[None]]
Note = Callable[[str], None]

_LOG_LEVEL = 4


def converse(service: Service, type: Ask, notified: Notified, **values: Any) -> Steps[Answer]:
    """Ask, let `notified` do what each notification wants, and return the answer.

    CheckpointFailed if it is no, or if criu ended without one.
    """
    service.ask(type, **values)
    while True:
        yield Readable((service.fileno(),))
        answer = service.answer()
        if answer is None:
            raise CheckpointFailed(f"criu ended without an answer (exit status {service.finish()})")
        if not answer.success:
            code = int(answer.values.get("cr_errno", 0))
            told = str(answer.values.get("cr_errmsg", ""))
            raise CheckpointFailed(
                f"criu failed: type {_name(answer.type)} errno {code}",
                hint=program.errors_in(told) or told,
            )
        if answer.type != Ask.NOTIFY:
            return answer
        yield from notified(answer)
        service.ask(Ask.NOTIFY, notify_success=True)


def _name(type: int) -> str:
    try:
        return Ask(type).name
    except ValueError:
        return str(type)


def nothing(answer: Answer) -> Steps[None]:
    """For questions that nothing has to be done about meanwhile."""
    yield from ()  # in steps, as others that have to wait


def version(criu: str) -> Steps[Version]:
    """The version of the program `criu`; at least the oldest that can be asked.

    Unsupported, with what its own check says, if it does not work on this machine.
    """
    answer = yield from _short(criu, Ask.VERSION)
    told = answer.values.get("version", {})
    major, minor, sub = (
        int(told.get(name, 0)) for name in ("major_number", "minor_number", "sublevel")
    )
    if told.get("gitid"):
        minor, sub = minor + 1, 0  # built on the way to the next
    found = (major, minor, sub)
    program.require(found, program.OLDEST, "checkpoint and restore")
    return found


def require_features(criu: str, **wanted: bool) -> Steps[None]:
    """Unsupported, naming them, if criu or this kernel lacks some of mem_track and lazy_pages."""
    answer = yield from _short(criu, Ask.FEATURE_CHECK, features=wanted)
    there = answer.values.get("features", {})
    words = {"mem_track": "MemTrack", "lazy_pages": "LazyPages"}
    missing = [words[name] for name in wanted if not there.get(name)]
    if missing:
        raise Unsupported(
            f"criu is missing features: [{' '.join(missing)}]",
            hint="MemTrack takes a kernel with CONFIG_MEM_SOFT_DIRTY, LazyPages one with "
            "CONFIG_USERFAULTFD",
        )


def _short(criu: str, type: Ask, **values: Any) -> Steps[Answer]:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        service = Service(criu, (null, null, null))
        try:
            return (yield from converse(service, type, nothing, **values))
        finally:
            service.finish()
    except CheckpointFailed as error:
        raise program.unusable(criu, program.complaint(criu) or error.message) from None
    finally:
        os.close(null)


def explained(
    error: CheckpointFailed, criu: str, directory: str, name: str, note: Note
) -> MobyshellError:
    """`error` with why, as the log tells it; `note` is told the lines around all errors in there.

    What `criu check` says as well is no matter of this container: then it is Unsupported.
    """
    quoted, first = log.excerpt(directory, name)
    path = f"{directory}/{name}"
    if quoted:
        note(f'--- Quoting "{path}"')
        for line in quoted:
            note(line)
        note("---")
    why = first or error.hint
    if why and why in (said := program.complaint(criu)):
        return program.unusable(criu, said)
    return CheckpointFailed(
        f"{error.message}: {why}" if why else error.message, hint=f"log file: {path}"
    )


def common_options(settings: Settings, spec: Spec, name: str) -> dict[str, Any]:
    """The options that a dump and a restore share, but for the directories.

    UsageError for an unknown way with cgroups.
    """
    if settings.manage_cgroups not in CGROUP_MODES:
        raise UsageError("invalid manage-cgroups-mode value", hint="soft, full, strict or ignore")
    options: dict[str, Any] = {
        "log_level": _LOG_LEVEL,
        "log_file": name,
        "notify_scripts": True,
        "manage_cgroups": True,
        "manage_cgroups_mode": CGROUP_MODES[settings.manage_cgroups],
        # what a network namespace had in it, whoever made it makes again
        "empty_ns": _CLONE_NEWNET,
        "orphan_pts_master": True,
        "shell_job": settings.shell_job,
        "tcp_established": settings.tcp_established,
        "ext_unix_sk": settings.ext_unix_sk,
        "file_locks": settings.file_locks,
        "auto_dedup": settings.auto_dedup,
        "lazy_pages": settings.lazy_pages,
    }
    configuration = (spec.annotations or {}).get(CONFIGURATION, DEFAULT_CONFIGURATION)
    if configuration:
        options["config_file"] = configuration
    return options


_CLONE_NEWNET = 0x40000000


def directory(path: str, held: ExitStack) -> int:
    """A descriptor of a directory, made if it is not there; `held` closes it. SyscallFailed."""
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SyscallFailed.of(error, "mkdir", path=path) from None
    held.callback(os.close, fd)
    return fd
