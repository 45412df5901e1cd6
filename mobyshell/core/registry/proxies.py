"""Proxies, by the environment's words as Go programs read them: HTTPS_PROXY, HTTP_PROXY, NO_PROXY."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from mobyshell.core.registry.locations import Location, is_local


def proxy_for(location: Location) -> str:
    """The URL of the proxy on the way there; "" where there is none. This machine needs none."""
    if is_local(location.hostname):
        return ""
    name = f"{location.scheme}_proxy"
    found = os.environ.get(name) or os.environ.get(name.upper()) or ""
    if not found:
        return ""
    found = found if "://" in found else f"http://{found}"
    if _spared(location, os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""):
        return ""
    return found if urlsplit(found).scheme in ("http", "https") else ""


def proxy_manager(proxy: str, options: dict[str, Any]) -> urllib3.ProxyManager:
    """Connections through a proxy; who we are to it may stand in its URL."""
    parts = urlsplit(proxy)
    host = parts.netloc.rpartition("@")[2]
    headers = None
    if parts.username:
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=who)
    return urllib3.ProxyManager(f"{parts.scheme}://{host}", proxy_headers=headers, **options)


def _spared(location: Location, without: str) -> bool:
    """Whether NO_PROXY names it: `*`, a domain with all below it, a host with its port, or a
    network as 10.0.0.0/8."""
    name = location.hostname
    for word in (one.strip().lower() for one in without.split(",")):
        if word in ("*", location.host.lower()):
            return True
        domain = word.removeprefix("*").removeprefix(".")
        if domain and (name == domain or name.endswith(f".{domain}")):
            return True
        if "/" in word and _within(name, word):
            return True
    return False


def _within(name: str, network: str) -> bool:
    import ipaddress  # for who uses it

    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
