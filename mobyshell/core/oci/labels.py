"""What may be a label, by containerd's rules: of what is stored, of networks, of volumes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.safejson import show

LONGEST = 4096
"""Bytes of a key and its value together: containerd's bound (pkg/labels/validate.go)."""


def check_labels(labels: Mapping[str, str]) -> None:
    """UsageError unless all of them can be labels."""
    for key, value in labels.items():
        if not isinstance(key, str) or not isinstance(value, str) or not key:
            raise UsageError(f"not a label: {show(key)}={show(value)}", hint="text=text")
        try:
            size = len(key.encode()) + len(value.encode())
        except UnicodeEncodeError:
            raise UsageError(f"the label {show(key)} is not Unicode text") from None
        if size > LONGEST:
            raise UsageError(
                f"the label {show(key)} is too long: {size} bytes",
                hint=f"key and value together have at most {LONGEST}",
            )
        if "\0" in key or "\0" in value:
            raise UsageError(f"the label {show(key)} holds a zero byte")
