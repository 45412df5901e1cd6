"""What a key sends to a terminal program: xterm's sequences. Pure."""

from __future__ import annotations

_PLAIN = {
    "enter": "\r", "tab": "\t", "escape": "\x1b", "backspace": "\x7f", "space": " ",
    "ctrl+@": "\0", "ctrl+space": "\0", "ctrl+left_square_bracket": "\x1b",
    "ctrl+backslash": "\x1c", "ctrl+circumflex_accent": "\x1e", "ctrl+underscore": "\x1f",
    "shift+tab": "\x1b[Z", "insert": "\x1b[2~", "delete": "\x1b[3~", "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~", "f1": "\x1bOP", "f2": "\x1bOQ", "f3": "\x1bOR", "f4": "\x1bOS",
    "f5": "\x1b[15~", "f6": "\x1b[17~", "f7": "\x1b[18~", "f8": "\x1b[19~", "f9": "\x1b[20~",
    "f10": "\x1b[21~", "f11": "\x1b[23~", "f12": "\x1b[24~",
}  # fmt: skip

_CURSOR = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}

# the parameter that xterm adds for held keys: 1 + shift 1 + alt 2 + ctrl 4
_HELD = {"shift": 1, "alt": 2, "ctrl": 4}


def encode(key: str, character: str | None, *, application: bool = False) -> bytes:
    """The bytes for Textual's `key` (with the `character` it prints, if any).

    `application`: the program asked for application cursor keys (DECCKM). Empty if it sends nothing.
    """
    if key in _PLAIN:
        return _PLAIN[key].encode()
    *held, name = key.split("+")
    if name in _CURSOR:
        return _cursor(name, held, application)
    if held == ["ctrl"] and len(name) == 1 and name.isalpha():
        return bytes([ord(name.lower()) & 0x1F])
    if held and held[0] == "alt":
        rest = encode("+".join((*held[1:], name)), name if len(name) == 1 else None)
        return b"\x1b" + rest if rest else b""
    if character is not None and character.isprintable():
        return character.encode()
    return b""


def _cursor(name: str, held: list[str], application: bool) -> bytes:
    final = _CURSOR[name]
    modifier = 1 + sum(_HELD.get(one, 0) for one in held)
    if modifier > 1:
        return f"\x1b[1;{modifier}{final}".encode()
    return f"\x1b{'O' if application else '['}{final}".encode()
