"""Platforms: for which machine an image is (image-spec image-index.md), written `linux/arm64/v8`.

Owns the value, its text, and which images a machine can run, best first, by the rules of
containerd's platforms. Asks the kernel nothing but uname's machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.kinds import array, extras, member, text
from mobyshell.core.oci.safejson import show
from mobyshell.core.values import named_value, replace, value

_SECTION = "image-index.md#image-index-property-descriptions"


@named_value
class Platform:
    """An architecture and an operating system, by Go's names. `variant` as in `v7`."""

    architecture: str = member("architecture", text(), _SECTION, required=True)
    os: str = member("os", text(), _SECTION, required=True)
    os_version: str | None = member("os.version", text(), _SECTION)
    os_features: tuple[str, ...] | None = member("os.features", array(text()), _SECTION)
    variant: str | None = member("variant", text(), _SECTION)
    extra: dict[str, Any] = extras()

    def __str__(self) -> str:
        return "/".join(
            one for one in (self.os or "unknown", self.architecture, self.variant) if one
        )


_SYSTEMS = frozenset({
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
    "nacl", "netbsd", "openbsd", "plan9", "solaris", "windows", "zos",
})  # fmt: skip
_ARCHITECTURES = frozenset({
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "ppc64", "ppc64le",
    "loong64", "mips", "mipsle", "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc",
    "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
})  # fmt: skip
# uname(2)'s names of machines that Go calls otherwise, with their variants
_MACHINES = {
    "x86_64": ("amd64", ""), "aarch64": ("arm64", ""), "i386": ("386", ""), "i486": ("386", ""),
    "i586": ("386", ""), "i686": ("386", ""), "armv5l": ("arm", "v5"), "armv5tel": ("arm", "v5"),
    "armv6l": ("arm", "v6"), "armv7l": ("arm", "v7"), "armv8l": ("arm", "v8"),
    "loongarch64": ("loong64", ""), "mips64": ("mips64", ""), "mips64el": ("mips64le", ""),
}  # fmt: skip
_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SYSTEM = re.compile(r"([A-Za-z0-9_-]{1,64})(?:\(([A-Za-z0-9_.-]{0,64})\))?")


def host_platform(machine: str = "") -> Platform:
    """The platform of this machine, or of the one that uname(2) calls `machine`."""
    machine = machine or os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return _platform("linux", architecture, variant)


def parse_platform(word: str) -> Platform:
    """`os/arch`, `os/arch/variant`, `os(version)/arch`, or one of os and arch: the machine's own is
    the other. UsageError."""
    parts = word.split("/") if isinstance(word, str) else []
    system = _SYSTEM.fullmatch(parts[0]) if parts else None
    if not system or len(parts) > 3 or not all(map(_PART.fullmatch, parts[1:])):
        raise UsageError(
            f"not a platform: {show(word)}", hint="os/arch[/variant], such as linux/arm64"
        )
    name, version = _system(system[1]), system[2]
    if len(parts) == 1:
        found = _alone(name, parts[0])
    else:
        found = _parsed(name, parts[1], parts[2] if parts[2:] else "")
    return replace(found, os_version=version) if version else found


def _alone(name: str, word: str) -> Platform:
    if name in _SYSTEMS:
        return replace(host_platform(), os=name)
    found = _parsed("linux", word, "")
    if found.architecture not in _ARCHITECTURES:
        raise UsageError(
            f"unknown operating system or architecture: {show(word)}", hint="such as linux/amd64"
        )
    return found


def _parsed(name: str, architecture: str, variant: str) -> Platform:
    given = variant
    architecture, variant = _architecture(architecture, variant)
    if architecture == "arm" and variant == "v7" and not given:
        variant = ""  # what is meant when nothing is said
    if architecture == "arm64" and given and not variant:
        variant = "v8"
    return _platform(name, architecture, variant)


def _platform(name: str, architecture: str, variant: str) -> Platform:
    return Platform(os=name, architecture=architecture, variant=variant or None)


def normalise(platform: Platform) -> Platform:
    """The same platform by the names that are compared: `x86_64` is `amd64`, `arm` is `arm/v7`."""
    architecture, variant = _architecture(platform.architecture, platform.variant or "")
    name = _system(platform.os) if platform.os else "linux"
    return replace(platform, os=name, architecture=architecture, variant=variant or None)


def _system(name: str) -> str:
    name = name.lower()
    return "darwin" if name == "macos" else name


def _architecture(architecture: str, variant: str) -> tuple[str, str]:
    architecture, variant = architecture.lower(), variant.lower()
    if architecture == "i386":
        return "386", ""
    if architecture in ("x86_64", "x86-64", "amd64"):
        return "amd64", "" if variant == "v1" else variant
    if architecture in ("aarch64", "arm64"):
        return "arm64", {"8": "", "v8": "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9"}.get(
            variant, variant
        )
    if architecture in ("armhf", "armel"):
        return "arm", "v7" if architecture == "armhf" else "v6"
    if architecture == "arm":
        variant = variant or "7"
        return "arm", f"v{variant}" if variant in ("5", "6", "7", "8") else variant
    return architecture, variant


@value
class Matcher:
    """What a machine can run. `accepted` are the platforms, normalised, the best first."""

    accepted: tuple[Platform, ...]

    def rank(self, platform: Platform) -> int | None:
        """How well it fits: 0 is best; None where it cannot run."""
        one = normalise(platform)
        for rank, other in enumerate(self.accepted):
            if _same(one, other):
                return rank
        return None

    def matches(self, platform: Platform) -> bool:
        """Whether it can run at all."""
        return self.rank(platform) is not None

    def __str__(self) -> str:
        return str(self.accepted[0])


def matcher(platform: Platform | None = None, *, strict: bool = False) -> Matcher:
    """Whatever a machine of this platform (default: this one) can run; `strict`: it alone."""
    one = normalise(platform or host_platform())
    return Matcher((one,) if strict else tuple(_runs(one)))


def _same(one: Platform, other: Platform) -> bool:
    if (one.os, one.architecture, one.variant) != (other.os, other.architecture, other.variant):
        return False
    if other.os == "windows" and other.os_version and one.os_version:
        # a container of Windows runs on its own build only
        return one.os_version.split(".")[:3] == other.os_version.split(".")[:3]
    return set(one.os_features or ()) <= {*(other.os_features or ()), "win32k"}


def _runs(one: Platform) -> Iterator[Platform]:
    """The platform, then what its processors also execute."""
    variant = one.variant or ""
    if one.architecture == "amd64":
        yield one
        for level in range(_number(variant, 9) - 1, 0, -1):
            yield replace(one, variant=f"v{level}" if level > 1 else None)
        yield replace(one, architecture="386", variant=None)
    elif one.architecture == "arm":
        yield one
        for version in range(_number(variant, 9) - 1, 4, -1):
            yield replace(one, variant=f"v{version}")
    elif one.architecture == "arm64":
        yield from _runs_arm64(one, variant or "v8")
    else:
        yield one


def _runs_arm64(one: Platform, variant: str) -> Iterator[Platform]:
    major, _, minor = variant.removeprefix("v").partition(".")
    if major not in ("8", "9") or len(minor) > 1 or not (minor or "0").isdecimal():
        yield one
        return
    newest = int(minor or 0)
    if major == "9":
        for number in range(newest, -1, -1):
            yield replace(one, variant=f"v9.{number}" if number else "v9")
        newest = min(newest + 5, 9)  # v9.0 has all of v8.5
    for number in range(newest, -1, -1):
        yield replace(one, variant=f"v8.{number}" if number else None)
    yield from _runs(replace(one, architecture="arm", variant="v8"))


def _number(variant: str, highest: int) -> int:
    digits = variant.removeprefix("v")
    return min(int(digits), highest) if digits.isdecimal() and len(digits) < 3 else 0
