"""update: other limits for a running container."""

from __future__ import annotations

import json
import sys
from typing import Any

from mobyshell.core.runtime.steps import run as steps
from mobyshell.runc.call import Call, Failure

# flag → path in linux.resources
_NUMBERS = {
    "cpu-period": ("cpu", "period"), "cpu-quota": ("cpu", "quota"), "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"), "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"), "cpu-idle": ("cpu", "idle"),
}  # fmt: skip
_SIZES = {
    "memory": ("memory", "limit"), "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
}  # fmt: skip
_WORDS = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_UNSIGNED = {"cpu-period", "cpu-share", "cpu-rt-period", "cpu-burst"}
_KNOWN = ("memory", "cpu", "blockIO", "pids", "unified", "hugepageLimits", "network", "rdma",
          "devices")  # fmt: skip


def run(call: Call) -> int:
    """`update`."""
    from mobyshell.core.runtime import state as states

    runtime = call.runtime()
    states.read(call.root(), call.id)
    given = call.flags.text("resources")
    resources = _read(given) if given else _from_flags(call)
    if resources:
        steps(runtime.update(call.id, resources))
    cache, bandwidth = call.flags.text("l3-cache-schema"), call.flags.text("mem-bw-schema")
    if cache or bandwidth:
        from mobyshell.core.linux.resctrl import detect
        from mobyshell.core.runtime.classes import change

        change(call.root(), call.id, detect(), cache=cache, bandwidth=bandwidth)
    return 0


def _read(path: str) -> dict[str, Any]:
    """The limits in a file, or on standard input for `-`."""
    try:
        if path == "-":
            text = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                text = file.read()
        document = json.loads(text)
    except ValueError as error:
        raise Failure(f"invalid resources: {error}") from None
    if not isinstance(document, dict):
        raise Failure("invalid resources: not an object")
    # null is Go's nothing; members of later specs are none of our business
    return {key: _given(value) for key, value in document.items() if key in _KNOWN and value}


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: one for key, one in value.items() if one is not None}
    return value


def _from_flags(call: Call) -> dict[str, Any]:
    flags = call.flags
    found: dict[str, Any] = {}

    def put(path: tuple[str, str], value: Any) -> None:
        found.setdefault(path[0], {})[path[1]] = value

    for name, path in _NUMBERS.items():
        if flags.text(name):
            put(path, _integer(name, flags.text(name)))
    for name, path in _SIZES.items():
        if flags.text(name):
            put(path, _size(name, flags.text(name)))
    for name, path in _WORDS.items():
        if flags.text(name):
            put(path, flags.text(name))
    if flags.number("blkio-weight"):
        put(("blockIO", "weight"), flags.number("blkio-weight"))
    if flags.given("pids-limit"):
        put(("pids", "limit"), flags.number("pids-limit"))
    if flags.text("kernel-memory") or flags.text("kernel-memory-tcp"):
        call.log.warning("Kernel memory settings are ignored and will be removed")
    return found


def _integer(name: str, word: str) -> int:
    try:
        number = int(word)
        if number < 0 and name in _UNSIGNED:
            raise ValueError
    except ValueError:
        raise Failure(f"invalid value for {name}: {word}") from None
    return number


_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


def _size(name: str, word: str) -> int:
    """Bytes, as docker's units write them: 64M, 1.5g, 512kb, 1GiB; -1 for no limit."""
    if word == "-1":
        return -1
    text = word.strip().lower()
    digits = text.rstrip("bikmgtp ")
    unit = text[len(digits) :].strip().removesuffix("ib").removesuffix("b")
    try:
        if unit not in _UNITS or float(digits) < 0:
            raise ValueError
        return int(float(digits) * _UNITS[unit])
    except (ValueError, OverflowError):
        raise Failure(f"invalid value for {name}: invalid size: '{word}'") from None
