"""Plugins of CNI: programs that join a container to a network, one after the other.

Owns their protocol: environment, standard input, results and errors. Only the worker runs them.
Source: https://www.cni.dev/docs/spec (1.1.0), sections 2 to 5; libcni/api.go.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import InvalidSpec, MobyshellError, TimedOut, Unsupported
from mobyshell.core.network.config import VERSIONS
from mobyshell.core.oci.safejson import read_json

if TYPE_CHECKING:
    from mobyshell.core.network.worker import Places

DIRECTORIES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
"""Where plugins are, if CNI_PATH does not say."""

_ARGS = "IgnoreUnknown=1"
"""CNI_ARGS: none, and a plugin that wants some shall do without (as nerdctl has it)."""

_SECONDS = 110.0
# plugins call iptables, which is where a user's $PATH may not lead
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class PluginFailed(MobyshellError):
    """A plugin answered with an error."""


def directories() -> tuple[str, ...]:
    """Where plugins are looked for: $CNI_PATH, else the places of distributions."""
    chosen = tuple(one for one in os.environ.get("CNI_PATH", "").split(":") if one.startswith("/"))
    return chosen or DIRECTORIES


def missing(plugins: Sequence[Mapping[str, Any]], places: Sequence[str]) -> list[str]:
    """The types of plugins, and of their ipam, that are installed nowhere."""
    wanted = []
    for one in plugins:
        ipam = one.get("ipam")
        wanted += [str(one["type"]), str(ipam.get("type", "")) if isinstance(ipam, dict) else ""]
    return [one for one in dict.fromkeys(wanted) if one and not _find(one, places)]


def _find(kind: str, places: Sequence[str]) -> str:
    for place in places:
        path = f"{place}/{kind}"
        if "/" not in kind and os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return ""


def add(
    places: Places, *, document: Mapping[str, Any], container: str, netns: str, interface: str,
    plugins: Sequence[str], capabilities: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Run the plugins of a list with ADD, each with the result of the one before; the last result."""
    result: dict[str, Any] = {}
    for one in document["plugins"]:
        config = _config(document, one, capabilities, result)
        result = _run(one["type"], "ADD", config, container, netns, interface, plugins) or result
    return result


def delete(
    places: Places, *, document: Mapping[str, Any], container: str, netns: str, interface: str,
    plugins: Sequence[str], capabilities: Mapping[str, Any], result: Mapping[str, Any],
) -> None:  # fmt: skip
    """Run the plugins of a list with DEL, the last first, each although another failed.

    Where ADD has not come to its end, there is no result, and a plugin that cannot undo it is not
    asked for ever: it may never have been able to (a daemon or a device that is not there).
    """
    there = netns if os.path.exists(netns) else ""
    failed: MobyshellError | None = None
    before = result if _since(document, "0.4.0") else {}
    for one in reversed(document["plugins"]):
        config = _config(document, one, capabilities, before)
        try:
            _run(one["type"], "DEL", config, container, there, interface, plugins)
        except MobyshellError as error:
            if result or not isinstance(error, PluginFailed):
                failed = failed or error
    if failed is not None:
        raise failed


def check(
    places: Places, *, document: Mapping[str, Any], container: str, netns: str, interface: str,
    plugins: Sequence[str], capabilities: Mapping[str, Any], result: Mapping[str, Any],
) -> None:  # fmt: skip
    """Ask the plugins of a list whether all is still as they made it. PluginFailed if it is not."""
    for one in document["plugins"] if can_check(document) else ():
        config = _config(document, one, capabilities, result)
        _run(one["type"], "CHECK", config, container, netns, interface, plugins)


def can_check(document: Mapping[str, Any]) -> bool:
    """Whether the plugins of a list can be asked."""
    return _since(document, "0.4.0") and document.get("disableCheck") not in (True, "true")


def _since(document: Mapping[str, Any], version: str) -> bool:
    return VERSIONS.index(document.get("cniVersion", "")) >= VERSIONS.index(version)


def _config(
    document: Mapping[str, Any], plugin: Mapping[str, Any], capabilities: Mapping[str, Any],
    before: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What a plugin reads: its part of the list, and what only is known now."""
    config = dict(plugin)
    config["cniVersion"], config["name"] = document.get("cniVersion", ""), document["name"]
    can = config.pop("capabilities", None) or {}
    told = {key: value for key, value in capabilities.items() if can.get(key)}
    if told:
        config["runtimeConfig"] = told
    if before:
        config["prevResult"] = dict(before)
    return config


def _run(
    kind: str, command: str, config: Mapping[str, Any], container: str, netns: str,
    interface: str, places: Sequence[str],
) -> dict[str, Any] | None:  # fmt: skip
    path = _find(kind, places)
    if not path:
        raise Unsupported(f"the CNI plugin {kind} is not installed",
                          hint="apt install containernetworking-plugins, or set CNI_PATH")  # fmt: skip
    environment = {
        **os.environ,
        "CNI_COMMAND": command, "CNI_ARGS": _ARGS, "CNI_CONTAINERID": container, "CNI_NETNS": netns,
        "CNI_IFNAME": interface, "CNI_PATH": ":".join(places),
        "PATH": ":".join(filter(None, (os.environ.get("PATH"), _PATH))),
    }  # fmt: skip
    try:
        done = subprocess.run(
            [path], input=json.dumps(config).encode(), capture_output=True, env=environment,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TimedOut(f"the CNI plugin {kind} did not end within {_SECONDS:g} s") from None
    except OSError as error:
        raise MobyshellError(f"the CNI plugin {path} cannot be run: {error.strerror}") from None
    if done.returncode:
        raise PluginFailed(f"the CNI plugin {kind} failed to {command}: {_said(done)}")
    if command != "ADD" or not done.stdout.strip():
        return None
    result = read_json(done.stdout, f"the result of the CNI plugin {kind}")
    if not isinstance(result, dict):
        raise InvalidSpec(f"the result of the CNI plugin {kind} is no object")
    return result


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a plugin says of its failure: the error object of the spec, else its last line."""
    try:
        told = read_json(done.stdout, "the error")
        words = [str(told[key]) for key in ("msg", "details") if told.get(key)]
        if words:
            return ": ".join(words)[:400]
    except (InvalidSpec, AttributeError, TypeError):
        pass  # some write text
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    if not lines:
        return f"exit status {done.returncode}"
    died = [one for one in lines if one.startswith("panic: ")]  # Go says where only after why
    return (died or lines)[-1][:400]


def addresses(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(address, gateway) of each address in a result."""
    found = []
    for old in ("ip4", "ip6"):  # before 0.3.0
        one = result.get(old)
        if isinstance(one, dict) and isinstance(one.get("ip"), str):
            found.append((one["ip"], str(one.get("gateway") or "")))
    for one in result.get("ips") or ():
        if isinstance(one, dict) and isinstance(one.get("address"), str):
            found.append((one["address"], str(one.get("gateway") or "")))
    return found
