"""What a container is kept from, beside capabilities in `spec_options`: filters, profiles, labels,
hidden and read-only places. Options of its spec.
"""

from __future__ import annotations

from mobyshell.core.oci import Capabilities, Linux, Process, Seccomp, Spec
from mobyshell.core.values import replace
from mobyshell.moby.spec_options import (
    Making,
    SpecOption,
    with_added_capabilities,
    with_dropped_capabilities,
)


def with_capabilities(*names: str) -> SpecOption:
    """These capabilities and no others; none at all without names."""

    def option(spec: Spec, making: Making) -> Spec:
        spec = with_dropped_capabilities("ALL")(spec, making)
        return with_added_capabilities(*names)(spec, making) if names else spec

    return option


def with_ambient_capabilities(*names: str) -> SpecOption:
    """Capabilities that a program of a user other than root keeps, too (capabilities(7))."""

    def option(spec: Spec, making: Making) -> Spec:
        spec = with_added_capabilities(*names)(spec, making)
        chosen = _capabilities(with_capabilities(*names)(spec, making)).bounding
        both = replace(_capabilities(spec), inheritable=chosen, ambient=chosen)
        return _of_process(spec, capabilities=both)

    return option


def with_no_new_privileges() -> SpecOption:
    """No setuid program or file capability gives it more than it has: the default."""
    return lambda spec, _: _of_process(spec, no_new_privileges=True)


def with_seccomp(profile: Seccomp | None) -> SpecOption:
    """This filter of system calls; None for none."""
    return lambda spec, _: _of_linux(spec, seccomp=profile)


def with_apparmor_profile(profile: str) -> SpecOption:
    """Confined by a profile that is loaded."""
    return lambda spec, _: _of_process(spec, apparmor_profile=profile)


def with_selinux_label(label: str) -> SpecOption:
    """The label of its process."""
    return lambda spec, _: _of_process(spec, selinux_label=label)


def with_masked_paths(*paths: str) -> SpecOption:
    """What cannot be seen, instead of what is hidden by default."""
    return lambda spec, _: _of_linux(spec, masked_paths=paths)


def with_readonly_paths(*paths: str) -> SpecOption:
    """What cannot be written, instead of what cannot by default."""
    return lambda spec, _: _of_linux(spec, readonly_paths=paths)


def _capabilities(spec: Spec) -> Capabilities:
    found = spec.process.capabilities if spec.process is not None else None
    return found or Capabilities()


def _of_process(spec: Spec, **changes: object) -> Spec:
    process = spec.process or Process(cwd="/")
    return replace(spec, process=replace(process, **changes))


def _of_linux(spec: Spec, **changes: object) -> Spec:
    return replace(spec, linux=replace(spec.linux or Linux(), **changes))
