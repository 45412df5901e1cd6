"""An assembler for the part of x86-64 that `stub.s` is written in.

Owns the translation of Intel syntax, as GNU as reads it after `.intel_syntax noprefix`, into
machine code: the tests compare the bytes of both. Encodings are those GNU as chooses (the short
form where there are two). Source: Intel 64 and IA-32 Architectures Software Developer's Manual,
volume 2. Not loaded at run time: `code` holds what it made.

Known: labels, `.set NAME, NUMBER`, `.quad NUMBER`, `.ascii` and `.asciz` with a "TEXT", `#` comments; mov,
lea, movzx, imul, push, pop, call, ret, jmp and the conditional jumps, syscall, repe cmpsb, rep movsb, neg,
div, inc, dec, shl, shr, add, or, and, sub, xor, cmp, test on 8 (registers, bytes stored and compared), 32 and
64 bits; memory as [base], [base+disp], [base+index*scale+disp], and for lea [rip+LABEL].
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_R64 = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
        "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")  # fmt: skip
_R32 = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi",
        "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d")  # fmt: skip
_R8 = ("al", "cl", "dl", "bl")

_ARITHMETIC = {"add": 0, "or": 1, "and": 4, "sub": 5, "xor": 6, "cmp": 7}
_CONDITIONS = {"jb": 2, "jae": 3, "je": 4, "jz": 4, "jne": 5, "jnz": 5, "jbe": 6, "ja": 7,
               "js": 8, "jns": 9}  # fmt: skip
_UNARY = {"neg": (0xF7, 3), "div": (0xF7, 6), "inc": (0xFF, 0), "dec": (0xFF, 1)}
_SIZES = {"qword": 8, "dword": 4, "byte": 1}


class AssemblyError(ValueError):
    """A line that this assembler does not know; the message quotes it."""


@dataclass(frozen=True, slots=True)
class Register:
    """A register of `size` bytes."""

    number: int
    size: int


@dataclass(frozen=True, slots=True)
class Memory:
    """[base + index * scale + displacement]; `size` in bytes, 0 if the text does not say."""

    base: Register
    index: Register | None
    scale: int
    displacement: int
    size: int


Operand = Register | Memory | int | str


@dataclass(frozen=True, slots=True)
class _Jump:
    """A jump or call to a label, whose length depends on the distance, or its address. `short` is
    None for the last two."""

    label: str
    short: bytes | None
    near: bytes


def assemble(source: str) -> tuple[bytes, dict[str, int]]:
    """The machine code of `source`, and the offset of each label. AssemblyError for what is unknown."""
    symbols: dict[str, int] = {}
    items: list[bytes | _Jump | str] = []
    for number, line in enumerate(source.splitlines(), 1):
        text = line.partition("#")[0].strip()
        try:
            items += _line(text, symbols)
        except (AssemblyError, ValueError, KeyError) as error:
            raise AssemblyError(f"line {number}: {line.strip()}: {error}") from None
    return _link(items)


def _line(text: str, symbols: dict[str, int]) -> list[bytes | _Jump | str]:
    if not text or text.startswith((".intel_syntax", ".text", ".globl")):
        return []
    if text.endswith(":"):
        return [text[:-1]]
    name, _, rest = text.partition(" ")
    if name == ".set":
        symbol, _, value = rest.partition(",")
        symbols[symbol.strip()] = _number(value.strip(), symbols)
        return []
    if name in (".ascii", ".asciz"):
        return [_text(rest.strip()) + b"\0" * (name == ".asciz")]
    if name == ".quad":
        return [(_number(rest.strip(), symbols) & (1 << 64) - 1).to_bytes(8, "little")]
    operands = [_operand(one.strip(), symbols) for one in rest.split(",")] if rest else []
    return [_encode(name, operands)]


def _text(quoted: str) -> bytes:
    """The bytes of a string with the escapes for newline, quote and backslash."""
    if not re.fullmatch(r'"([^"\\]|\\[n"\\])*"', quoted):
        raise AssemblyError("not a string")
    escaped = {"\\n": "\n"}
    return re.sub(r"\\.", lambda one: escaped.get(one[0], one[0][1]), quoted[1:-1]).encode("ascii")


def _number(text: str, symbols: dict[str, int]) -> int:
    """A sum of numbers and symbols."""
    total = 0
    for sign, word in re.findall(r"([+-]?)\s*([\w.]+)", text):
        value = symbols[word] if word in symbols else int(word, 0)
        total += -value if sign == "-" else value
    return total


def _register(text: str) -> Register | None:
    for names, size in ((_R64, 8), (_R32, 4), (_R8, 1)):
        if text in names:
            return Register(names.index(text), size)
    return None


def _operand(text: str, symbols: dict[str, int]) -> Operand:
    register = _register(text)
    if register is not None:
        return register
    match = re.fullmatch(r"(?:(qword|dword|byte) ptr )?\[(?!rip\+)(.*)\]", text)
    if match:
        return _memory(match[2], _SIZES.get(match[1] or "", 0), symbols)
    if re.match(r"[-\d]", text) or text.partition("+")[0] in symbols:
        return _number(text, symbols)
    return text


def _memory(text: str, size: int, symbols: dict[str, int]) -> Memory:
    base: Register | None = None
    index: Register | None = None
    scale, rest = 1, ""
    for sign, term in re.findall(r"([+-]?)([^+-]+)", text.replace(" ", "")):
        word, _, factor = term.partition("*")
        register = _register(word)
        if register is None:
            rest += f"{sign or '+'}{term}"
        elif factor or base is not None:
            index, scale = register, int(factor or 1)
        else:
            base = register
    if base is None:
        raise AssemblyError("memory needs a base register")
    return Memory(base, index, scale, _number(rest, symbols), size)


def _small(value: int) -> bool:
    return -128 <= value < 128


def _immediate(value: int, size: int) -> bytes:
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _modrm(reg: int, place: Register | Memory, opcode: bytes, wide: bool) -> bytes:
    """Prefix, opcode, ModRM, SIB and displacement of an instruction with `reg` and `place`."""
    rex = 0x48 if wide else 0x40
    rex |= (reg >> 3) << 2
    if isinstance(place, Register):
        rex |= place.number >> 3
        tail = bytes([0xC0 | (reg & 7) << 3 | place.number & 7])
    else:
        rex |= place.base.number >> 3
        low = place.base.number & 7
        if place.displacement == 0 and low != 5:
            mode, displacement = 0, b""
        elif _small(place.displacement):
            mode, displacement = 1, _immediate(place.displacement, 1)
        else:
            mode, displacement = 2, _immediate(place.displacement, 4)
        if place.index is not None:
            rex |= (place.index.number >> 3) << 1
            scale = {1: 0, 2: 1, 4: 2, 8: 3}[place.scale]
            sib = bytes([scale << 6 | (place.index.number & 7) << 3 | low])
            low = 4
        else:
            sib = b"\x24" if low == 4 else b""
        tail = bytes([mode << 6 | (reg & 7) << 3 | low]) + sib + displacement
    return (bytes([rex]) if rex != 0x40 else b"") + opcode + tail


def _encode(name: str, operands: list[Operand]) -> bytes | _Jump:
    match name, operands:
        case "ret", []:
            return b"\xc3"
        case "syscall", []:
            return b"\x0f\x05"
        case "repe", ["cmpsb"]:
            return b"\xf3\xa6"
        case "rep", ["movsb"]:
            return b"\xf3\xa4"
        case "push" | "pop", [Register(number, 8)]:
            prefix = b"\x41" if number > 7 else b""
            return prefix + bytes([(0x50 if name == "push" else 0x58) + (number & 7)])
        case "jmp", [str(label)]:
            return _Jump(label, b"\xeb", b"\xe9")
        case "call", [str(label)]:
            return _Jump(label, None, b"\xe8")
        case "call", [Register(_, 8) as place]:
            return _modrm(2, place, b"\xff", False)
        case _, [str(label)] if name in _CONDITIONS:
            code = _CONDITIONS[name]
            return _Jump(label, bytes([0x70 + code]), bytes([0x0F, 0x80 + code]))
        case _, [Register() | Memory() as place] if name in _UNARY and place.size in (4, 8):
            opcode, extension = _UNARY[name]
            return _modrm(extension, place, bytes([opcode]), place.size == 8)
        case "shl" | "shr", [Register() as place, int(value)]:
            extension = 4 if name == "shl" else 5
            if value == 1:
                return _modrm(extension, place, b"\xd1", place.size == 8)
            return _modrm(extension, place, b"\xc1", place.size == 8) + _immediate(value, 1)
        case "lea", [Register(number, 8), str(place)] if place.startswith("[rip+"):
            near = bytes([0x48 | number >> 3 << 2, 0x8D, (number & 7) << 3 | 5])
            return _Jump(place[len("[rip+") : -1], None, near)
        case "lea", [Register(number, 8), Memory() as place]:
            return _modrm(number, place, b"\x8d", True)
        case "movzx", [Register(number, 4), Register(_, 1) | Memory(size=1) as place]:
            return _modrm(number, place, b"\x0f\xb6", False)
        case "imul", [Register(number, 8), Register() | Memory() as place, int(value)]:
            if _small(value):
                return _modrm(number, place, b"\x6b", True) + _immediate(value, 1)
            return _modrm(number, place, b"\x69", True) + _immediate(value, 4)
        case "mov", _:
            return _mov(operands)
        case "test", [Register() as one, Register() as other]:
            return _modrm(other.number, one, b"\x85", one.size == 8)
        case "test", [Register(number, 1) as one, int(value)]:
            if number == 0:
                return b"\xa8" + _immediate(value, 1)
            return _modrm(0, one, b"\xf6", False) + _immediate(value, 1)
        case _, [_, _] if name in _ARITHMETIC:
            return _arithmetic(_ARITHMETIC[name], operands)
    raise AssemblyError(f"no encoding for {name} with {operands}")


def _mov(operands: list[Operand]) -> bytes:
    match operands:
        case [Register() | Memory() as to, Register(number, size)] if size > 1:
            return _modrm(number, to, b"\x89", size == 8)
        case [Memory() as to, Register(number, 1)]:
            return _modrm(number, to, b"\x88", False)
        case [Memory(size=1) as to, int(value)]:
            return _modrm(0, to, b"\xc6", False) + _immediate(value, 1)
        case [Register(number, size), Memory() as place] if size > 1:
            return _modrm(number, place, b"\x8b", size == 8)
        case [Register(number, 4), int(value)]:
            prefix = b"\x41" if number > 7 else b""
            return prefix + bytes([0xB8 + (number & 7)]) + _immediate(value, 4)
        case [Register(_, 8) as to, int(value)] if -(1 << 31) <= value < 1 << 31:
            return _modrm(0, to, b"\xc7", True) + _immediate(value, 4)
        case [Memory(size=size) as to, int(value)] if size in (4, 8):
            return _modrm(0, to, b"\xc7", size == 8) + _immediate(value, 4)
    raise AssemblyError(f"no encoding for mov with {operands}")


def _arithmetic(code: int, operands: list[Operand]) -> bytes:
    match operands:
        case [Register() | Memory() as to, Register(number, size)] if size > 1:
            return _modrm(number, to, bytes([code << 3 | 1]), size == 8)
        case [Register(number, 1), Register(other, 1)]:
            return _modrm(other, Register(number, 1), bytes([code << 3]), False)
        case [Register(number, size), Memory() as place] if size > 1:
            return _modrm(number, place, bytes([code << 3 | 3]), size == 8)
        case [Memory(size=1) as to, int(value)]:
            return _modrm(code, to, b"\x80", False) + _immediate(value, 1)
        case [Register() | Memory() as to, int(value)] if to.size in (4, 8):
            if _small(value):
                return _modrm(code, to, b"\x83", to.size == 8) + _immediate(value, 1)
            if isinstance(to, Register) and to.number == 0:
                prefix = b"\x48" if to.size == 8 else b""
                return prefix + bytes([code << 3 | 5]) + _immediate(value, 4)
            return _modrm(code, to, b"\x81", to.size == 8) + _immediate(value, 4)
    raise AssemblyError(f"no encoding for arithmetic with {operands}")


def _link(items: list[bytes | _Jump | str]) -> tuple[bytes, dict[str, int]]:
    """Lay out; jumps start short and grow until every one reaches its label."""
    near: set[int] = set()
    while True:
        labels: dict[str, int] = {}
        places: list[int] = []
        at = 0
        for position, item in enumerate(items):
            places.append(at)
            if isinstance(item, str):
                if item in labels:
                    raise AssemblyError(f"label {item} twice")
                labels[item] = at
            elif isinstance(item, bytes):
                at += len(item)
            elif item.short is not None and position not in near:
                at += 2
            else:
                at += len(item.near) + 4
        code, grown = bytearray(), False
        for position, item in enumerate(items):
            if isinstance(item, bytes):
                code += item
            elif isinstance(item, _Jump):
                if item.label not in labels:
                    raise AssemblyError(f"no label {item.label}")
                distance = labels[item.label] - places[position]
                if item.short is not None and position not in near:
                    if not _small(distance - 2):
                        near.add(position)
                        grown = True
                        continue
                    code += item.short + _immediate(distance - 2, 1)
                else:
                    code += item.near + _immediate(distance - len(item.near) - 4, 4)
        if not grown:
            return bytes(code), labels
