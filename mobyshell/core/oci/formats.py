"""What the strings of a spec may look like: lists of CPUs, names of control files, and so on. Pure."""

from __future__ import annotations

from mobyshell.core.oci.kinds import formatted

_LARGEST_CPU = 6  # digits; the kernel's NR_CPUS has four


def is_number_list(value: str) -> bool:
    """Whether `value` is a list as in cpuset(7): `0-3,7`. An empty one is: it stands for none."""
    return not value or all(_is_range(part) for part in value.split(","))


def _is_range(part: str) -> bool:
    low, dash, high = part.strip().partition("-")
    if not _is_number(low):
        return False
    return not dash or (_is_number(high) and int(low) <= int(high))


def _is_number(word: str) -> bool:
    return word.isdecimal() and word.isascii() and len(word) <= _LARGEST_CPU


def is_access(value: str) -> bool:
    """Whether `value` is a combination of read, write and mknod."""
    return set(value) <= set("rwm") and len(set(value)) == len(value)


def is_page_size(value: str) -> bool:
    """Whether `value` is as in the names of hugetlb's control files: `64KB`, `2MB`, `1GB`."""
    number = value[:-2]
    return (
        value[-2:] in ("KB", "MB", "GB")
        and number.isdecimal()
        and number.isascii()
        and not number.startswith("0")
    )


def is_control_file(value: str) -> bool:
    """Whether `value` can be a file of a cgroup, such as `memory.high`: one component of a path."""
    return "/" not in value and 0 < value.find(".") < len(value) - 1


def is_interface(value: str) -> bool:
    """Whether the kernel takes `value` as a network device's name (net/core/dev.c)."""
    return (
        0 < len(value.encode()) <= 15
        and value not in (".", "..")
        and not any(one in "/:" or one.isspace() for one in value)
    )


def is_one_word(value: str) -> bool:
    """Whether `value` stands for itself in a control file: not empty, no white space, no slash."""
    return bool(value) and not any(one == "/" or one.isspace() for one in value)


NUMBER_LIST = formatted(is_number_list, "a list such as 0-3,7")
ACCESS = formatted(is_access, "r, w and m, each at most once")
PAGE_SIZE = formatted(is_page_size, "a size such as 64KB, 2MB or 1GB")
CONTROL_FILE = formatted(is_control_file, "the name of a control file, such as memory.high")
INTERFACE = formatted(is_interface, "the name of a network device, such as eth0")
WORD = formatted(is_one_word, "a name without spaces and slashes")
LINE = formatted(lambda value: "\n" not in value, "one line")
