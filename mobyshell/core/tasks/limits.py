"""Room for descriptors: raised when it is needed, and only then.

Every task costs the shim and the keeper a handful of descriptors. The soft limit is what a
container inherits whose spec sets none, so it stays as it was until this many tasks are there.
"""

from __future__ import annotations

import resource

_SPARE = 64


def make_room(used: int) -> None:
    """Raise the soft limit of open files if `used` descriptors come near it (setrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if used + _SPARE > soft and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(4 * soft, used * 2)), hard))
