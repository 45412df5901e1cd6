"""A small systemd1 on a bus of the test's own: starts scopes and slices by making their cgroups.

    python fake_systemd.py ADDRESS JOURNAL ROOT…

Each call is a JSON line in JOURNAL. ROOT…: the tops of the hierarchies that it keeps. It has just
what our driver uses, and the answers of the real one (systemd 252) to it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    MessageType,
    new_error,
    new_method_return,
    new_signal,
)  # fmt: skip
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

NAME, PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
MANAGER = DBusAddress(PATH, bus_name=NAME, interface=f"{NAME}.Manager")


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


class Manager:
    def __init__(self, connection: Any, journal: str, roots: list[str]) -> None:
        self.connection, self.journal, self.roots = connection, journal, roots
        self.units: dict[str, str] = {}
        self.failed: set[str] = set()
        self.jobs = 0

    def record(self, member: str, body: Any) -> None:
        with open(self.journal, "a") as file:
            file.write(json.dumps([member, plain(body)]) + "\n")

    def serve(self) -> None:
        while True:
            message = self.connection.receive()
            if message.header.message_type is not MessageType.method_call:
                continue
            member = message.header.fields[HeaderFields.member]
            self.record(member, message.body)
            try:
                signature, body, job = getattr(self, member)(*message.body)
            except Refusal as refusal:
                self.connection.send(
                    new_error(message, f"{NAME}.{refusal.name}", "s", (str(refusal),))
                )
                continue
            self.connection.send(new_method_return(message, signature, body))
            if job is not None:
                done = new_signal(MANAGER, "JobRemoved", "uoss", (self.jobs, *job))
                self.connection.send(done)

    def Subscribe(self) -> Any:
        return None, (), None

    def job(self, unit: str, result: str) -> Any:
        self.jobs += 1
        path = f"{PATH}/job/{self.jobs}"
        return "o", (path,), (path, unit, result)

    def StartTransientUnit(self, unit: str, mode: str, properties: Any, aux: Any) -> Any:
        known = {name: value for name, (_, value) in properties}
        if "Nonsense" in known:
            raise Refusal("NotSupported", "Cannot set property Nonsense, or unknown property.")
        if unit in self.units or unit in self.failed:
            raise Refusal("UnitExists", f"Unit {unit} was already loaded or has a fragment file.")
        if known["Description"] == "container unlucky":
            return self.job(unit, "failed")
        slice = known.get("Slice", (known.get("Wants") or [""])[0])
        parts = slice.removesuffix(".slice").split("-")
        place = "/".join("-".join(parts[: end + 1]) + ".slice" for end in range(len(parts)))
        self.units[unit] = f"{place}/{unit}"
        for root in self.roots:
            path = f"{root}/{place}/{unit}"
            os.makedirs(path, exist_ok=True)
            for pid in known.get("PIDs", ()):
                with open(f"{path}/cgroup.procs", "w") as file:
                    file.write(str(pid))
        return self.job(unit, "done")

    def SetUnitProperties(self, unit: str, runtime: bool, properties: Any) -> Any:
        self.known(unit)
        return None, (), None

    def StopUnit(self, unit: str, mode: str) -> Any:
        self.known(unit)
        place = self.units.pop(unit)
        self.failed.add(unit)
        for root in self.roots:
            path = f"{root}/{place}"
            while path != root:
                try:
                    os.rmdir(path)
                except OSError:
                    break
                path = os.path.dirname(path)
        return self.job(unit, "done")

    def ResetFailedUnit(self, unit: str) -> Any:
        if unit not in self.failed:
            raise Refusal("NoSuchUnit", f"Unit {unit} not loaded.")
        self.failed.discard(unit)
        return None, (), None

    def known(self, unit: str) -> None:
        if unit not in self.units:
            raise Refusal("NoSuchUnit", f"Unit {unit} not loaded.")


class Refusal(Exception):
    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


def main() -> None:
    address, journal, *roots = sys.argv[1:]
    connection = open_dbus_connection(address, auth_timeout=60)
    Proxy(message_bus, connection).RequestName(NAME)
    with open(journal, "w"):
        print("ready", flush=True)
    Manager(connection, journal, roots).serve()


if __name__ == "__main__":
    main()
