"""What a container's class of service may use and has used, in the JSON of `runc events --stats`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mobyshell.core.linux import resctrl as kernel
from mobyshell.core.linux.resctrl import Resctrl

_CACHE = ("cbm_mask", "min_cbm_bits", "num_closids")
_BANDWIDTH = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")


def counted(root: Path, id: str, resctrl: Resctrl | None) -> dict[str, Any]:
    """The member `intel_rdt`; empty for a container without a class."""
    if resctrl is None:
        return {}
    from mobyshell.core.runtime.classes import places

    found = places(root, id, resctrl)
    if found is None:
        return {}
    path, counting = found
    whole, own = (kernel.read(f"{one}/schemata").splitlines() for one in (resctrl.root, path))
    told: dict[str, Any] = {"schemata": own}
    for name, member, files in (("L3", "l3_cache", _CACHE), ("MB", "mem_bw", _BANDWIDTH)):
        if not resctrl.has(name):
            continue
        told[f"{member}_info"] = _info(f"{resctrl.root}/info/{name}", files)
        for suffix, lines in (("_root", whole), ("", own)):
            line = next((one.strip() for one in lines if name in one), "")
            if line:
                told[f"{member}_schema{suffix}"] = line
    if resctrl.has("L3_MON"):
        features = kernel.read(f"{resctrl.root}/info/L3_MON/mon_features").split()
        told |= _monitored(f"{counting}/mon_data", features)
    return told


def _info(path: str, files: tuple[str, ...]) -> dict[str, Any]:
    found = {name: kernel.read(f"{path}/{name}") for name in files}
    return {
        name: text if name == "cbm_mask" else int(text)
        for name, text in found.items()
        if text and (name == "cbm_mask" or text.isdecimal())
    }


def _monitored(path: str, features: list[str]) -> dict[str, Any]:
    try:
        domains = [one.path for one in sorted(os.scandir(path), key=lambda one: one.name)]
    except OSError:
        return {}
    told: dict[str, Any] = {}
    bandwidth = [one for one in ("mbm_total_bytes", "mbm_local_bytes") if one in features]
    if bandwidth:
        told["mbm_stats"] = [
            {name: _number(f"{one}/{name}") for name in bandwidth} for one in domains
        ]
    if "llc_occupancy" in features:
        told["cmt_stats"] = [{"llc_occupancy": _number(f"{one}/llc_occupancy")} for one in domains]
    return told


def _number(path: str) -> int:
    text = kernel.read(path)
    return int(text) if text.isdecimal() else 0
