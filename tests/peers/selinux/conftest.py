"""The fixtures of the runtime's own tests, in the virtual machine."""

from __future__ import annotations

from tests.core.runtime.conftest import busybox, house

__all__ = ["busybox", "house"]
