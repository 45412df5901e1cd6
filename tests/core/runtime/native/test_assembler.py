"""Our assembler against GNU as, and the committed code against its source."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest

from mobyshell.core.runtime.native.assembler import AssemblyError, assemble
from mobyshell.core.runtime.native.code import CODE, RUN, SPAWN, START
from mobyshell.core.runtime.native.generate import TARGET, generated, source
from mobyshell.core.runtime.native.image import ADDRESS, elf
from mobyshell.core.runtime.program import COOKIE, HEADER_BYTES, REPORT, WORDS, Header


def by_gnu_as(source: str, directory: Path) -> bytes:
    """What GNU as makes of `source`."""
    made, flat = directory / "stub.o", directory / "stub.bin"
    subprocess.run(["as", "--64", "-o", made, "-"], check=True, text=True,
                   input=f".intel_syntax noprefix\n{source}")  # fmt: skip
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", made, flat], check=True)
    return flat.read_bytes()


@pytest.mark.peer
def test_the_stub_is_what_gnu_as_makes_of_it(tmp_path: Path) -> None:
    text = source()
    assert assemble(text)[0] == by_gnu_as(text, tmp_path)


@pytest.mark.peer
def test_every_form_is_encoded_as_gnu_as_does(tmp_path: Path) -> None:
    wide = ["rax", "rcx", "rsp", "rbp", "rdi", "r8", "r12", "r13", "r15"]
    narrow = ["eax", "edx", "esi", "r9d", "r14d"]
    places = [f"[{base}{rest}]" for base in wide for rest in ("", "+8", "-128", "+128", "+4096")]
    places += [f"[{base}+{index}*{scale}+16]" for base in ("rbp", "rsp", "r13")
               for index, scale in (("rdi", 8), ("r9", 1), ("rax", 4))]  # fmt: skip
    values = [0, 1, -1, 127, 128, -129, 0x12345678]
    lines = [
        "syscall",
        "ret",
        "neg rax",
        "neg r9d",
        "dec r12d",
        "inc rdx",
        "call r15",
        "repe cmpsb",
        "rep movsb",
        "div rcx",
    ]
    for register in wide:
        lines += [f"push {register}", f"pop {register}", f"shr {register}, 1", f"shl {register}, 8"]
        lines += [f"mov {register}, {value}" for value in values]
    for name in ("add", "or", "and", "sub", "xor", "cmp", "test", "mov"):
        for registers in (wide, narrow):
            lines += [f"{name} {one}, {other}" for one in registers for other in registers[:3]]
            if name != "test":
                lines += [f"{name} {one}, {value}" for one in registers for value in values]
        if name != "test":
            lines += [f"{name} {place}, rdx" for place in places]
            lines += [f"{name} r10, {place}" for place in places]
    for place in places:
        lines += [f"lea r9, {place}", f"movzx ecx, byte ptr {place}", f"imul rax, {place}, 1000000"]
        lines += [f"mov qword ptr {place}, 5", f"cmp dword ptr {place}, 300"]
        lines += [
            f"mov {place}, cl",
            f"mov {place}, al",
            f"mov byte ptr {place}, 200",
            f"cmp byte ptr {place}, 39",
            f"inc qword ptr {place}",
            f"dec dword ptr {place}",
        ]
    lines += [f"test {one}, {value}" for one in ("al", "cl", "dl") for value in (1, 64)]
    lines += [
        "cmp cl, dl",
        "movzx edi, dl",
        "movzx r9d, al",
        "imul rax, rsi, 80",
        "imul r9, r9, 800",
        *(f"lea {register}, [rip+before120]" for register in ("rsi", "r10")),
        '.ascii "a, \\"b\\"\\n"',
        '.asciz "\\\\: {c}"',
    ]
    random.Random(5).shuffle(lines)
    # jumps over every distance around the limit of the short form, both ways
    for count in range(120, 136):
        lines += [f"before{count}:", f"je after{count}", *["syscall"] * (count // 2), "ret"]
        lines += [f"after{count}:", f"jmp before{count}", "call before120"]
    text = "\n".join(lines) + "\n"
    assert assemble(text)[0] == by_gnu_as(text, tmp_path)


@pytest.mark.parametrize(
    "line", ["fnord rax", "mov al, bl", "mov [rax", "jmp nowhere", "test rax, 1", "mov [8], rax",
             "x:\nx:", "shl rax, [rbx]"],
)  # fmt: skip
def test_what_is_unknown_is_refused(line: str) -> None:
    with pytest.raises(AssemblyError):
        assemble(line)


def test_the_code_is_what_its_source_says() -> None:
    assert TARGET.read_text() == generated(source()), "run `make native`"


def test_stub_and_program_agree_on_the_layout() -> None:
    constants = {}
    for line in source().splitlines():
        if line.startswith(".set "):
            name, value = line[5:].partition("#")[0].split(",")
            constants[name] = int(value, 0)
    assert constants["RECORD"] == 8 * WORDS
    assert constants["REPORT"] == 8 * REPORT
    assert constants["HEADER"] == HEADER_BYTES
    assert constants["COOKIE"] == COOKIE
    for word, name in (
        (Header.COOKIE, "MAGIC"), (Header.BASE, "BASE"), (Header.BYTES, "BYTES"),
        (Header.LENGTH, "LENGTH"), (Header.CLOCK, "CLOCK"), (Header.BEFORE, "BEFORE"),
        (Header.BEFORE_BYTES, "BEFORE_BYTES"), (Header.BEHIND, "BEHIND"), (Header.CHILD, "CHILD"),
        (Header.NAME, "NAME"), (Header.CLONE_ARGS, "CLONE_ARGS"),
    ):  # fmt: skip
        assert constants[name] == 8 * word, name


def test_the_executable_begins_where_it_should() -> None:
    image = elf()
    (entry,) = struct.unpack_from("<Q", image, 24)
    assert image[4096:] == CODE
    assert entry == ADDRESS + 4096 + START
    assert SPAWN == 0 < RUN < START < len(CODE)
