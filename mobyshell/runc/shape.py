"""What two bundles have in common: a config.json with places in it for what tells containers apart.

An engine writes a new bundle for each container, and most of it is always the same. What differs
are strings that a plan only passes on, whatever they are: the names of the container, where its
files lie, the words and variables of its program. Each of these gets a place (`place`) in the
shape, and is a value beside it; everything else stays in the shape as it is. Two bundles of one
shape have one plan, but for the values in their places: `compiled` looks whether that holds before
it stores one.

Owns which strings these are, and what they must be like for that. Imports nothing big, see `quick`.
"""

from __future__ import annotations

from mobyshell.runc import stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeAlias

    Pieces: TypeAlias = tuple[str | int, ...]
    """A text: what stands in it, and the numbers of the values between."""

MARK = "\ue000"
"""Around the number of a value. No string of a bundle that has a shape holds it."""

ID, HOME, ROOTFS, HOSTNAME, GROUP, BUNDLE = range(6)
"""The values that every shape has; those of mounts, arguments and variables come after them."""

PID, PID_START, CREATED, STARTED, LEVELS, TOLD = range(-6, 0)
"""What a record of the container has besides: known when it is written."""

_LONGEST_HOSTNAME, _LONGEST_USERS = 64, 1 << 20
_KEPT = ("PATH", "HOME")
"""Variables that decide something."""


class Shape:
    """`document`: with places; `values`: what belongs there, id and home still empty; `content`:
    the config.json as it lies there; `annotations`: these are only told."""

    def __init__(self, document: Any, content: bytes) -> None:
        self.document, self.content = document, content
        self.values: list[str] = [""] * 6
        self.annotations: dict[str, str] = {}
        self.rootfs = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and self.content == other.content

    __hash__ = None  # type: ignore[assignment]

    def put(self, value: str) -> str:
        """A place for `value`."""
        if type(value) is not str or "\0" in value:
            raise ValueError("not a string without NUL")
        self.values.append(value)
        return place(len(self.values) - 1)


def place(number: int) -> str:
    """Stands in a text for a value."""
    return f"{MARK}{number}{MARK}"


def pieces(text: str) -> Pieces:
    """A text that may have places."""
    parts: list[str | int] = list(text.split(MARK))
    parts[1::2] = [int(one) for one in parts[1::2]]
    return tuple(part for part in parts if part != "")


def filled(parts: Pieces, values: Sequence[str] | Mapping[int, str]) -> str:
    """The text with the values in their places."""
    return "".join([values[part] if isinstance(part, int) else part for part in parts])


def read(bundle: str) -> Shape:
    """The shape of a bundle. ValueError, KeyError, TypeError, AttributeError, OSError for one that
    has none."""
    from mobyshell.runc.quick_json import document

    content = stored.read(f"{bundle}/config.json")
    if b"\xee\x80\x80" in content or b"\\ue000" in content.lower():
        raise ValueError("the mark is in use")
    shape = Shape(document(content.decode(), once), content)
    shape.values[BUNDLE] = bundle[1:]
    _root(shape, bundle)
    _names(shape)
    for one in shape.document.get("mounts") or ():
        _mount(shape, one)
    _process(shape, shape.document["process"])
    return shape


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. ValueError for one with a member twice: of these the library speaks."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member twice")
    return found


def _root(shape: Shape, bundle: str) -> None:
    root = shape.document["root"]
    if type(root["path"]) is not str:
        raise ValueError("not a string")
    path = root["path"] if root["path"][:1] == "/" else f"{bundle}/{root['path']}"
    if not plain(path) or path.count("/") < 2 or "\0" in path:
        raise ValueError("a path with turns")
    shape.rootfs = path
    shape.values[ROOTFS] = path[1:]
    root["path"] = f"/{place(ROOTFS)}"


def plain(path: str) -> bool:
    """Whether `path` is absolute, and as it would be if it were normalised."""
    if path[:1] != "/" or path[-1] == "/" or "//" in path:
        return False
    return "/." not in path or not ("/./" in f"{path}/" or "/../" in f"{path}/")


def _names(shape: Shape) -> None:
    document = shape.document
    hostname = document.get("hostname")
    if hostname:
        if "\0" in hostname or len(hostname.encode()) > _LONGEST_HOSTNAME:
            raise ValueError("no name")
        shape.values[HOSTNAME], document["hostname"] = hostname, place(HOSTNAME)
    if "annotations" in document:
        shape.annotations = document["annotations"]
        for key, value in shape.annotations.items():
            if type(value) is not str or not key or "\0" in key or "\0" in value:
                raise ValueError("no annotation")
        document["annotations"] = {}
    linux = document["linux"]
    group = linux.get("cgroupsPath")
    if group:
        above, slash, name = group.rpartition("/")
        if name in ("", ".", "..") or "\0" in name:
            raise ValueError("no name")
        # the levels above stay: how they are made depends on which of them are there
        shape.values[GROUP], linux["cgroupsPath"] = name, f"{above}{slash}{place(GROUP)}"


def _mount(shape: Shape, entry: dict[str, Any]) -> None:
    inside = f"{shape.rootfs}/"
    destination = entry["destination"]
    if destination != "/" and (not plain(destination) or destination.startswith(inside)):
        raise ValueError("a path with turns")
    options = entry.get("options") or ()
    if not ("bind" in options or "rbind" in options) or "remount" in options:
        return
    source = entry["source"]
    if not plain(source) or source.startswith(inside) or "copy-symlink" in options:
        raise ValueError("a bind of another kind")
    entry["source"] = f"/{shape.put(source[1:])}"


def _process(shape: Shape, process: dict[str, Any]) -> None:
    args, variables = process["args"], process.get("env") or []
    if type(args) is not list or type(variables) is not list:
        raise ValueError("not a list")
    # which program it is decides where it is looked for
    process["args"] = [args[0], *(shape.put(one) for one in args[1:])]
    if not variables:
        return
    names, kept = set(), []
    for one in variables:
        name, equals, value = one.partition("=")
        if not name or not equals or name in names:
            raise ValueError("not a variable, or one twice")
        names.add(name)
        kept.append(one if name in _KEPT else f"{name}={shape.put(value)}")
    process["env"] = kept


def home(rootfs: str, users: str, uid: int) -> str:
    """Where the /etc/passwd of a root, or the file `users` in its place, says that `uid` is at home,
    else `/`: as environment.home.

    OSError where a link leads elsewhere, and for what cannot be read.
    """
    try:
        content = stored.read(users, _LONGEST_USERS) if users else _users(rootfs)
    except FileNotFoundError:
        return "/"
    wanted = b"%d" % uid
    for line in content.splitlines():
        fields = line.split(b":")
        if len(fields) > 5 and fields[2] == wanted:
            found = fields[5]
            if b"\0" in found or len(found) > 4096:
                return "/"
            return found.decode("utf-8", "surrogateescape") or "/"
    return "/"


def _users(rootfs: str) -> bytes:
    import posix

    etc = posix.open(f"{rootfs}/etc", posix.O_DIRECTORY | posix.O_NOFOLLOW | stored.CLOEXEC)
    try:
        return stored.read("passwd", _LONGEST_USERS, etc)
    finally:
        posix.close(etc)
