"""Every instruction row of both generations: decoder and disassembler against LLVM's text, 47,000 encodings.

The files are written by tools/isa_corpus.py; LLVM is not needed here. A line is the encoding in hexadecimal and LLVM's text. A line
that begins with '-' is an encoding LLVM refuses: an opcode number without an instruction, or one this chip has not.
"""

from __future__ import annotations

import functools
import json
import lzma
import re
from collections import Counter
from pathlib import Path

import pytest

from torch_usbgpu._emulator import isa

HERE = Path(__file__).parent
DATA = Path(__file__).resolve().parents[3] / "csrc/emulator/isa/data"
CHIPS = {"gfx1100": "gfx11", "gfx1201": "gfx12"}
# LLVM without a symbol table writes a branch's distance in dwords; ours is the target. Everything else is the same text.
BRANCH = re.compile(r"((?:s_c?branch\w*|s_call_b64|s_subvector_loop_\w+) (?:.*, )?)(\d+)$")


def label(match: re.Match[str]) -> str:
    distance = int(match[2])
    target = 4 + 4 * (distance - 0x10000 if distance & 0x8000 else distance)
    return match[1] + hex(target & 0xFFFFFFFFFFFFFFFF)


@functools.cache
def lines(chip: str) -> tuple[dict[str, str], dict[str, str]]:
    """{encoding: text} and the refused {encoding: format:opcode}."""
    known, refused = {}, {}
    with lzma.open(HERE / f"{chip}.txt.xz", "rt") as file:
        for line in file:
            code, _, text = line.rstrip("\n").partition(" ")
            if code.startswith("-"):
                refused[code[1:]] = text
            elif code != "#":
                known[code] = BRANCH.sub(label, text)
    return known, refused


@functools.cache
def facts(chip: str) -> dict:
    return json.loads((DATA / f"{CHIPS[chip]}.json").read_text())


def base_name(text: str) -> str:
    """Mnemonic without the encoding's suffix; both halves of a VOPD pair."""
    return " :: ".join(re.sub("(_e32|_e64|_dpp|_e64_dpp)$", "", half.split()[0]) for half in text.split(" :: "))


@pytest.mark.parametrize("chip", CHIPS)
def test_text_is_llvms(chip: str) -> None:
    known, _ = lines(chip)
    assert len(known) > 22000
    wrong = []
    for code, text in known.items():
        rows = isa.disassemble(bytes.fromhex(code), chip)
        _offset, length, _mnemonic, mine = rows[0]
        if len(rows) != 1 or 2 * length != len(code) or mine != text:
            wrong.append(f"{code}: LLVM has {len(code) // 2} bytes {text!r}, ours {length} bytes {mine!r}")
    assert not wrong, f"{len(wrong)} of {len(known)}\n" + "\n".join(wrong[:40])


@pytest.mark.parametrize("chip", CHIPS)
def test_mnemonic_and_length_do_not_depend_on_what_follows(chip: str) -> None:
    """The whole corpus as one program: lengths add up, every instruction is found where LLVM found it."""
    known, _ = lines(chip)
    program = bytes.fromhex("".join(known))
    at = 0
    for row, (code, text) in zip(isa.disassemble(program, chip), known.items(), strict=True):
        offset, length, mnemonic, _text = row
        assert (offset, 2 * length) == (at, len(code)), text
        first = base_name(text).split(" :: ")[0]
        assert first in (mnemonic, f"{mnemonic}_e64", f"{mnemonic}_e32"), (mnemonic, text)
        at += length


@pytest.mark.parametrize("chip", CHIPS)
def test_every_row_is_there(chip: str) -> None:
    """No row of the facts without a line, except those marked as not on this chip; and none of the latter with one."""
    known, refused = lines(chip)
    seen = Counter(half for text in known.values() for half in base_name(text).split(" :: "))
    missing, unexpected = [], []
    for fmt, ops in facts(chip)["ops"].items():
        for op in ops:
            name = op["name"]
            if "llvm22" not in op and not seen[name]:
                missing.append((fmt, name))
            if "llvm22" in op and f"{fmt}:{op['op']}" not in refused.values():
                unexpected.append((fmt, name))
    assert not missing and not unexpected


@pytest.mark.parametrize("chip", CHIPS)
def test_what_the_chip_has_not_is_refused(chip: str) -> None:
    """Unused opcode numbers are no instruction; those of other chips keep their name for the fault report, and cannot run."""
    absent = {
        f"{fmt}:{op['op']}": op["name"] for fmt, ops in facts(chip)["ops"].items() for op in ops if "llvm22" in op
    }
    _, refused = lines(chip)
    assert len(refused) > 2000
    for code, key in refused.items():
        _offset, _length, mnemonic, text = isa.disassemble(bytes.fromhex(code), chip)[0]
        if key in absent:
            assert mnemonic == absent[key]
            assert f"{mnemonic} is not on this chip" in isa.unsupported(bytes.fromhex(code), chip)[text]
            assert absent[key] not in isa.mnemonics(chip) or key.startswith("VOP3")
        else:
            assert mnemonic is None and text.startswith(".long"), (key, text)
