"""The labels that say how a snapshot's ids are to be seen: read, checked, applied. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mobyshell.core.errors import UsageError
from mobyshell.core.store.snapshots.protocol import GID_MAPPING, UID_MAPPING
from mobyshell.core.values import field, value

_MOST = 0xFFFFFFFF
_MOST_RANGES = 340
"""user_namespaces(7)"""


@value
class IdMap:
    """Ranges (inside, outside, count) of ids; none: ids are what they are."""

    ranges: tuple[tuple[int, int, int], ...] = ()

    def outside(self, id: int) -> int:
        """Whom the host knows as `id` of the namespace. UsageError if it has no such one."""
        if not self.ranges:
            return id
        for inside, outside, count in self.ranges:
            if inside <= id < inside + count:
                return outside + id - inside
        raise UsageError(f"id {id} is not in the mapping {self}", hint="map a larger range")

    def inverse(self) -> IdMap:
        """The way back."""
        return IdMap(tuple((outside, inside, count) for inside, outside, count in self.ranges))

    @classmethod
    def parse(cls, text: str) -> IdMap:
        """From `CONTAINER:HOST:SIZE[,…]`, as containerd writes it. UsageError."""
        ranges = []
        for part in text.split(","):
            words = part.split(":")
            ok = len(words) == 3 and all(one.isascii() and one.isdecimal() for one in words)
            inside, outside, count = (int(one) for one in words) if ok else (0, 0, 0)
            if count == 0 or max(inside, outside) + count > _MOST:
                raise UsageError(f"not a mapping of ids: {text!r}", hint="CONTAINER:HOST:SIZE[,…]")
            ranges.append((inside, outside, count))
        if len(ranges) > _MOST_RANGES:
            raise UsageError(f"{len(ranges)} ranges of ids", hint=f"at most {_MOST_RANGES}")
        return cls(tuple(ranges))

    def __str__(self) -> str:
        return ",".join(":".join(map(str, one)) for one in self.ranges)

    def kernel_text(self) -> str:
        """As /proc/PID/uid_map takes it."""
        return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in self.ranges)


@value
class IdMaps:
    """Of users and groups: both or neither."""

    uids: IdMap = field(default_factory=IdMap)
    gids: IdMap = field(default_factory=IdMap)

    def __bool__(self) -> bool:
        return bool(self.uids.ranges)

    def inverse(self) -> IdMaps:
        """The way back."""
        return IdMaps(self.uids.inverse(), self.gids.inverse())

    @classmethod
    def of_labels(cls, labels: Mapping[str, str]) -> IdMaps:
        """Those that a snapshot's labels ask for. UsageError if there is one without the other."""
        uids, gids = labels.get(UID_MAPPING, ""), labels.get(GID_MAPPING, "")
        if not uids and not gids:
            return cls()
        if not uids or not gids:
            raise UsageError(f"{UID_MAPPING} and {GID_MAPPING} are given together or not at all")
        return cls(IdMap.parse(uids), IdMap.parse(gids))

    def options(self) -> tuple[str, ...]:
        """As options of a mount: containerd's `uidmap=` and `gidmap=`, which `mounting` knows."""
        return (f"uidmap={self.uids}", f"gidmap={self.gids}") if self else ()
