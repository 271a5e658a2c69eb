"""Writes tests/emulator/isa_corpus/*.txt.xz: encodings of every instruction row and LLVM's text for them.

    python tools/isa_corpus.py --llvm /path/to/libLLVM.so.22.1 [--second /path/to/libLLVM.so.19.1]

The encodings come from the facts (csrc/emulator/isa/data): each row in several operand variants, drawn from a
seeded generator. LLVM's disassembler, in a process of its own because some image words crash it, says which
are instructions and how they read; `zig clang -cc1as` (the ziglang wheel) assembles each text again, and an
encoding that comes back with other bytes (unused fields set) is kept only for rows that have no other. Opcode
numbers without a row are tried as well: LLVM must refuse them. Needed only to write the files; any libLLVM with
the AMDGPU target will do. With --second, a second LLVM's texts are compared and the differences counted.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import importlib.util
import json
import lzma
import random
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "csrc/emulator/isa/data"
OUT = ROOT / "tests/emulator/isa_corpus"
CHIPS = {"gfx11": "gfx1100", "gfx12": "gfx1201"}
# 16-bit operands as halves of registers on both generations: the same encodings, and the text says which half.
FEATURES = "+real-true16"
TRIES = 4  # draws per variant; the first that LLVM accepts is kept
LITERALS = (0x12345678, 0xFFFFFF85, 0x3F9D70A4, 0x4248, 0x80000000, 0x7FC00000)
MIN_INLINE, MAX_INLINE = 128, 208
SPECIAL = (106, 107, 108, 122, 124, 125, 126, 127, 235, 236, 237, 238, 253)
FLOAT_INLINE = tuple(range(240, 249))


@dataclass(frozen=True)
class Candidate:
    key: str  # format and opcode number
    variant: str
    code: bytes


class Row:
    """One opcode of the facts, as bits."""

    def __init__(self, facts: dict, fmt: str, op: dict, opy: dict | None = None) -> None:
        self.format_name = fmt.split(".")[0]
        self.format, self.op, self.opy = facts["formats"][self.format_name], op, opy
        self.name: str = op["name"]
        self.operands = {o[0]: o for o in op["operands"]}
        self.key = f"{fmt}:{op['op']}" + (f"+{opy['op']}" if opy else "")
        self.gfx12 = facts["arch"] == "gfx12"

    def encode(self, values: dict[str, int], extra: list[int]) -> bytes:
        word = 0
        for match in self.format["match"]:
            word |= match["value"] << match["lo"]
        fields = self.format["fields"]
        values = dict(values)
        if self.opy:
            values |= {"opx": self.op["op"], "opy": self.opy["op"]}
        elif "op" in fields:
            values["op"] = self.op["op"]
        for name, value in values.items():
            f = fields[name]
            word |= (value & (1 << (f["hi"] - f["lo"] + 1)) - 1) << f["lo"]
        return word.to_bytes(self.format["bytes"], "little") + b"".join(w.to_bytes(4, "little") for w in extra)

    def dwords(self, field: str) -> int:
        bits = self.operands[field][3] if field in self.operands else 32
        return 1 if bits == "wave" else max(1, (bits + 31) // 32)


def sgpr(rng: random.Random, count: int) -> int:
    align = 4 if count > 2 else count
    return rng.randrange(0, (106 - count) // align) * align


def vgpr(rng: random.Random, count: int = 1) -> int:
    return rng.choice((0, 1, 5, 127, 128, 200, 256 - count, rng.randrange(256 - count))) % (257 - count)


def plain_fields(row: Row, rng: random.Random) -> dict[str, int]:
    """Every operand a VGPR or, where only a scalar fits, an SGPR; no modifiers."""
    values: dict[str, int] = {}
    for name, field in row.format["fields"].items():
        kind, operand = field["kind"], row.operands.get(name)
        count = row.dwords(name)
        if kind in ("op", "bits"):
            continue
        if operand is None and row.format_name not in (
            "VOPD",
            "MIMG",
            "VIMAGE",
            "VSAMPLE",
            "MUBUF",
            "MTBUF",
            "VBUFFER",
            "SMEM",
        ):
            if name in ("saddr", "soffset"):
                values[name] = 124
            continue
        if operand is None and row.format_name == "SMEM":
            values[name] = 124 if name == "soffset" else 0
            continue
        if (
            operand is None
            and (name in ("ssamp", "samp") or re.search("image|buffer", row.name) is None)
            and row.format_name != "VOPD"
        ):
            continue
        shape = operand[1] if operand else ""
        if kind in ("vgpr8", "vdsty"):
            values[name] = vgpr(rng, count)
            if shape in ("sreg", "sdst"):
                values[name] = sgpr(rng, count)
            elif shape == "exec":
                values[name] = 126
        elif kind == "src9":
            scalar = shape in ("ssrc", "sreg", "lanesel", "sreg_lit")
            values[name] = sgpr(rng, count) if scalar else 256 + vgpr(rng, count)
        elif kind in ("ssrc8", "sgpr7"):
            values[name] = 124 if shape == "sdst_null" else sgpr(rng, count)
        elif kind == "sgpr_div2":
            values[name] = rng.randrange(0, 26) * (2 if "buffer" in row.name else 1)
        elif kind == "sgpr_div4":
            values[name] = rng.randrange(0, 24)
    if row.format_name == "VOP3P" and "wmma" not in row.name and "swmmac" not in row.name:
        values |= {"opsel_hi": 0, "opsel_hi2": 0} if "mix" in row.name else {"opsel_hi": 3, "opsel_hi2": 1}
        if "src2" not in row.operands:
            values["opsel_hi2"] = 1
    elif row.format_name == "VOP3P":
        values |= {"opsel_hi": 3, "opsel_hi2": 1}
    return values


def sources(row: Row) -> list[str]:
    return [
        n
        for n, o in row.operands.items()
        if "r" in o[4] and n in row.format["fields"] and row.format["fields"][n]["kind"] in ("src9", "ssrc8")
    ]


DPP16_CONTROLS = (0x1B, 0x4E, 0x101, 0x10F, 0x111, 0x11E, 0x121, 0x12F, 0x140, 0x141, 0x150, 0x15F, 0x160, 0x16F)


def dpp16(rng: random.Random, modifiers: bool) -> int:
    word = rng.randrange(256) | rng.choice(DPP16_CONTROLS) << 8 | rng.randrange(4) << 18
    word |= rng.choice((0xFF, 0xA5, rng.randrange(256))) << 24
    return word | (rng.randrange(1, 16) << 20 if modifiers else 0)


def vector_variants(row: Row, rng: random.Random) -> Iterator[tuple[str, dict[str, int], list[int]]]:
    fmt, fields = row.format_name, row.format["fields"]
    literal = (
        [rng.choice(LITERALS) & (0xFFFF if "16" in row.name else 0xFFFFFFFF)]
        if re.search("fmaak|fmamk", row.name)
        else []
    )
    short = fmt in ("VOP1", "VOP2", "VOPC")

    def base() -> dict[str, int]:
        return plain_fields(row, rng)

    yield "vgpr", base(), literal
    yield "vgpr2", base(), literal
    names = sources(row)
    for name in names:
        count = row.dwords(name)
        yield f"{name}-sgpr", base() | {name: sgpr(rng, count)}, literal
        yield f"{name}-inline", base() | {name: rng.randrange(MIN_INLINE, MAX_INLINE + 1)}, literal
        yield f"{name}-float", base() | {name: rng.choice(FLOAT_INLINE)}, literal
        yield f"{name}-special", base() | {name: rng.choice(SPECIAL)}, literal
        yield f"{name}-special2", base() | {name: rng.choice(SPECIAL)}, literal
        yield f"{name}-literal", base() | {name: 255}, [rng.choice(LITERALS)]
    if fmt in ("VOP3", "VOP3SD", "VOP3P", "VINTERP"):
        if "sdst" in row.operands or row.operands.get("vdst", ["", ""])[1] in ("sreg", "sdst"):
            which = "sdst" if "sdst" in row.operands else "vdst"
            for code in (106, 124):
                yield f"dst-{code}", base() | {which: code}, literal
        for n, modifier in enumerate(("neg", "abs", "clmp", "omod", "opsel", "neg_hi", "opsel_hi", "waitexp")):
            if modifier in fields:
                for k in range(2):
                    width = fields[modifier]["hi"] - fields[modifier]["lo"] + 1
                    yield (
                        f"{modifier}{k}",
                        base() | {modifier: rng.randrange(1, 1 << width) if width > 1 else 1},
                        literal,
                    )
        everything = {
            m: rng.getrandbits(4) for m in ("neg", "abs", "clmp", "omod", "opsel", "neg_hi", "opsel_hi") if m in fields
        }
        yield "mods", base() | everything, literal
        yield (
            "mods-literal",
            base() | everything | {names[0]: 255} if names else base(),
            [rng.choice(LITERALS)] if names else literal,
        )
    if (short or fmt in ("VOP3", "VOP3SD", "VOP3P")) and "src0" in row.operands and not literal:
        for k in range(3):
            mods = short and k == 2
            yield f"dpp16-{k}", base() | {"src0": 250}, [dpp16(rng, mods)]
        yield "dpp8", base() | {"src0": 233}, [rng.getrandbits(32)]
        yield "dpp8-fi", base() | {"src0": 234}, [rng.getrandbits(32)]
        if not short:
            extra = {m: rng.getrandbits(4) for m in ("neg", "abs", "clmp", "omod", "opsel", "neg_hi") if m in fields}
            yield "dpp16-mods", base() | extra | {"src0": 250}, [dpp16(rng, False)]
            yield "dpp8-mods", base() | extra | {"src0": 233}, [rng.getrandbits(32)]
            if "src1" in row.operands:
                yield "dpp16-s1", base() | {"src0": 250, "src1": sgpr(rng, 1)}, [dpp16(rng, False)]
                yield "dpp8-i1", base() | {"src0": 234, "src1": rng.choice((130, 193, 242))}, [rng.getrandbits(32)]


def scalar_variants(row: Row, rng: random.Random) -> Iterator[tuple[str, dict[str, int], list[int]]]:
    literal = [rng.choice(LITERALS)] if "imm32" in row.name else []

    def base() -> dict[str, int]:
        return plain_fields(row, rng)

    if "simm16" in row.format["fields"]:
        if row.name in ("s_setreg_b32", "s_setreg_imm32_b32", "s_getreg_b32"):
            for register in (*range(1, 32), 40):
                yield (
                    f"hwreg{register}",
                    base() | {"simm16": register | rng.choice((0, 0, 4)) << 6 | rng.choice((31, 31, 7)) << 11},
                    literal,
                )
            return
        immediates = {
            0,
            1,
            2,
            3,
            4,
            5,
            7,
            0x10,
            0x7F,
            0x80,
            0xFF,
            0x1234,
            0x7FFF,
            0x8000,
            0xFFFF,
            0xFFFE,
            rng.getrandbits(16),
        }
        if re.match("s_(sendmsg|wait|delay|set_inst|version|sleep|clause)", row.name):
            immediates |= {rng.getrandbits(w) for w in (4, 5, 6, 8, 8, 10, 12, 14, 16, 16)} | set(range(0, 24))
        if row.name == "s_delay_alu":
            immediates |= {a | s << 4 | b << 7 for a in (1, 5, 8, 9) for s in (0, 1, 2, 5) for b in (0, 2, 6, 11)}
        for value in sorted(immediates):
            yield f"simm{value}", base() | {"simm16": value}, literal
        return
    for k in range(3):
        yield f"sgpr{k}", base(), literal
    if row.name.startswith("s_sendmsg_rtn") or row.name.startswith("s_barrier"):
        for value in (*range(125, 144), 193, 194, 195, 196):
            yield f"message{value}", base() | {"ssrc0": value}, literal
        return
    for name in sources(row):
        yield f"{name}-inline", base() | {name: rng.randrange(MIN_INLINE, MAX_INLINE + 1)}, literal
        yield f"{name}-float", base() | {name: rng.choice(FLOAT_INLINE)}, literal
        for k in range(3):
            yield f"{name}-special{k}", base() | {name: rng.choice(SPECIAL)}, literal
        yield f"{name}-literal", base() | {name: 255}, [rng.choice(LITERALS)]
    if "sdst" in row.operands:
        for code in (106, 124, 125, 126, 107, 127, 108):
            yield f"sdst-{code}", base() | {"sdst": code}, literal


def bits(row: Row, rng: random.Random, *names: str) -> dict[str, int]:
    fields = row.format["fields"]
    return {n: rng.randrange(1 << (fields[n]["hi"] - fields[n]["lo"] + 1)) for n in names if n in fields}


CACHE = ("glc", "slc", "dlc", "scope", "th", "nv")


def memory_variants(row: Row, rng: random.Random) -> Iterator[tuple[str, dict[str, int], list[int]]]:
    fmt, fields = row.format_name, row.format["fields"]

    def base() -> dict[str, int]:
        values = plain_fields(row, rng)
        if "rsrc" in fields:  # a whole register number where gfx11 divides by four
            values["rsrc"] = sgpr(rng, 4)
        if "samp" in fields and fmt == "VSAMPLE":
            values["samp"] = sgpr(rng, 4) if "samp" in row.operands else 0
        if fmt == "VBUFFER":
            values["format"] = 1 if row.name.startswith("buffer") else 22
        if fmt in ("VIMAGE", "VSAMPLE"):
            used = rng.randrange(1, 6)  # address fields beyond those in use are zero
            values |= {f"vaddr{n}": vgpr(rng) if n < used else 0 for n in range(5) if f"vaddr{n}" in fields} | {
                "dmask": rng.choice((1, 3, 5, 7, 15)),
                "dim": rng.randrange(8),
            }
        if row.name.startswith("image_atomic"):  # as many components as the operation has
            values["dmask"] = 3 if "cmpswap" in row.name else 1
        if fmt == "MIMG":
            values |= {"dim": rng.randrange(8), "dmask": values.get("dmask") or rng.choice((1, 2, 3, 7, 15))}
        return values

    if fmt == "SMEM":
        offset = "ioffset" if row.gfx12 else "offset"
        top = fields[offset]["hi"] - fields[offset]["lo"]
        for k, soffset in enumerate((124, 124, 124, 124, sgpr(rng, 1), sgpr(rng, 1), 106, 125)):
            values = (0, 0x40, (1 << top) - 4, (1 << top + 1) - 8)
            yield f"offset{k}", base() | {"soffset": soffset, offset: values[k % 4]}, []
        for k in range(6):
            yield f"cache{k}", base() | {"soffset": 124, offset: 16} | bits(row, rng, *CACHE), []
        yield "sdata-vcc", base() | {"soffset": 124, "sdata": 106}, []
        return
    if fmt == "DS":
        for k, offset in enumerate((0, 4, 0xFF, 0x100, 0xFFFF, rng.getrandbits(16))):
            yield f"offset{k}", base() | {"offset0": offset & 255, "offset1": offset >> 8}, []
        if "gds" in fields:
            yield "gds", base() | {"gds": 1}, []
        return
    if fmt in ("FLAT", "GLOBAL", "SCRATCH", "VFLAT", "VGLOBAL", "VSCRATCH"):
        offset = "ioffset" if row.gfx12 else "offset"
        top = fields[offset]["hi"] - fields[offset]["lo"]
        for k in range(12):
            values = (0, 8, (1 << top) - 1, (1 << top + 1) - 16, 1 << top)
            saddr = 124 if k % 2 == 0 or fmt in ("FLAT", "VFLAT") else sgpr(rng, 2)
            flags = bits(row, rng, *CACHE) if k > 5 else {}
            if k in (4, 5):
                flags = {"glc": 1} if not row.gfx12 else {"th": 1, "scope": k - 3}
            yield (
                f"form{k}",
                base() | {offset: values[k % 5], "saddr": saddr, "sve": k >> 1 & 1 if "SCRATCH" in fmt else 0} | flags,
                [],
            )
        return
    if fmt in ("MUBUF", "MTBUF", "VBUFFER"):
        offset = "ioffset" if row.gfx12 else "offset"
        for k in range(10):
            flags = (
                bits(row, rng, *CACHE, *(("format",) if fmt == "MTBUF" or row.name.startswith("tbuffer") else ()))
                if k > 3
                else {}
            )
            soffset = (124, 128, sgpr(rng, 1), 125, 193)[k % 5]
            size = fields[offset]["hi"] - fields[offset]["lo"] - (1 if row.gfx12 else 0)
            yield (
                f"form{k}",
                base()
                | {
                    offset: (0, 4, (1 << size + 1) - 1)[k % 3],
                    "soffset": soffset & 127 if row.gfx12 and soffset > 127 else soffset,
                    "offen": k & 1,
                    "idxen": k >> 1 & 1,
                    "tfe": k == 9,
                }
                | flags,
                [],
            )
        yield "bare", {name: 0 for name in fields if fields[name]["kind"] != "op"}, []
        return
    if fmt in ("MIMG", "VIMAGE", "VSAMPLE"):
        for k in range(16):
            values = base() | {"dim": k % 8}
            if k > 5:
                values |= bits(row, rng, *CACHE, "unrm", "r128", "a16", "d16", "tfe", "lwe")
            extra: list[int] = []
            if fmt == "MIMG" and k & 1:
                values["nsa"] = 1
                extra = [rng.getrandbits(32)]
            yield f"form{k}", values, extra
        return
    if fmt in ("EXP", "VEXPORT"):
        for k, target in enumerate((0, 7, 8, 12, 16, 20, 21, 22)):
            flags = bits(row, rng, "done", "row") | {"en": (15, 15, 1, 7, 8, 0, 5, 15)[k], "target": target}
            yield f"target{target}", {f"vsrc{n}": vgpr(rng) for n in range(4)} | flags, []
        return
    for k in range(6):  # LDSDIR, VDSDIR
        yield f"form{k}", base() | bits(row, rng, *(n for n in fields if fields[n]["kind"] == "bits")), []


def vopd_variants(row: Row, rng: random.Random) -> Iterator[tuple[str, dict[str, int], list[int]]]:
    constant = "aak" in row.name or "amk" in row.name or (row.opy is not None and re.search("aak|amk", row.opy["name"]))
    literal = [rng.choice(LITERALS)] if constant else []
    for k, forms in enumerate(("vv", "sv", "vs", "ii", "ll", "fi")):
        values = {"vdstx": vgpr(rng), "vdsty": rng.getrandbits(7), "vsrcx1": vgpr(rng), "vsrcy1": vgpr(rng)}
        values |= {f"vsrc{half}1": 0 for half, op in (("x", row.op), ("y", row.opy)) if op and "mov" in op["name"]}
        for name, form in zip(("srcx0", "srcy0"), forms):
            values[name] = {
                "v": 256 + vgpr(rng),
                "s": sgpr(rng, 1),
                "i": rng.randrange(MIN_INLINE, MAX_INLINE + 1),
                "l": 255,
                "f": rng.choice(FLOAT_INLINE),
            }[form]
        yield f"{forms}{k}", values, literal or ([rng.choice(LITERALS)] if "l" in forms else [])


def variants(row: Row, rng: random.Random) -> Iterator[tuple[str, dict[str, int], list[int]]]:
    if row.format_name == "VOPD":
        return vopd_variants(row, rng)
    if row.format_name.startswith("VOP") or row.format_name == "VINTERP":
        return vector_variants(row, rng)
    if row.format_name.startswith("SOP"):
        return scalar_variants(row, rng)
    return memory_variants(row, rng)


def unused(facts: dict) -> Iterator[Candidate]:
    """Opcode numbers that no row has, with several contents of the other fields."""
    for fmt, layout in facts["formats"].items():
        if fmt in ("VOPD", "VOP3SD") or "op" not in layout["fields"]:
            continue
        known = {op["op"] for op in facts["ops"].get(fmt, [])}
        if fmt == "VOP3":
            known |= {op["op"] for op in facts["ops"]["VOP3SD"]}
        field = layout["fields"]["op"]
        for number in range(1 << (field["hi"] - field["lo"] + 1)):
            if number in known:
                continue
            row = Row(facts, fmt, {"name": "unused", "op": number, "operands": []})
            if (
                (fmt, number) in (("VOP2", 62), ("VOP2", 63))
                or (fmt == "SOP2" and number >= 96)
                or (fmt == "SOPK" and number > 28)
            ):
                continue  # the prefixes of VOP1, VOPC and of SOPK to SOPP
            rng = random.Random(number)
            for attempt in range(6):
                values = {
                    n: rng.randrange(0, 100, 4) for n, f in layout["fields"].items() if attempt and f["kind"] != "op"
                }
                yield Candidate(f"{fmt}:{number}", f"unused{attempt}", row.encode(values, []))


def rows(facts: dict) -> Iterator[Row]:
    for fmt, ops in facts["ops"].items():
        if fmt == "VOPD.opx":
            for x in ops:
                for y in facts["ops"]["VOPD.opy"]:
                    yield Row(facts, fmt, x, y)
        elif fmt != "VOPD.opy":
            for op in ops:
                yield Row(facts, fmt, op)


def candidates(facts: dict) -> Iterator[Candidate]:
    for row in rows(facts):
        for attempt in range(TRIES):
            rng = random.Random(zlib.crc32(f"{facts['arch']} {row.key} {attempt}".encode()))
            for variant, values, extra in variants(row, rng):
                yield Candidate(row.key, variant, row.encode(values, extra))


# ---- LLVM, in a process of its own ------------------------------------------------------------------------------


def worker(library: str, chip: str) -> None:
    """Lines of hexadecimal bytes in, 'length text' out."""
    llvm = ctypes.CDLL(library)
    for part in ("TargetInfo", "TargetMC", "Disassembler"):
        getattr(llvm, f"LLVMInitializeAMDGPU{part}")()
    llvm.LLVMCreateDisasmCPUFeatures.restype = ctypes.c_void_p
    context = llvm.LLVMCreateDisasmCPUFeatures(
        b"amdgcn-amd-amdhsa", chip.encode(), FEATURES.encode(), None, 0, None, None
    )
    llvm.LLVMDisasmInstruction.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_uint64,
        ctypes.c_uint64,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    llvm.LLVMDisasmInstruction.restype = ctypes.c_size_t
    text = ctypes.create_string_buffer(1024)
    for line in sys.stdin:
        code = bytes.fromhex(line) + bytes(8)
        length = llvm.LLVMDisasmInstruction(context, code, len(code), 0, text, len(text))
        print(length, " ".join(text.value.decode().split()) if length else "", flush=True)


def disassemble(library: str, chip: str, codes: list[bytes]) -> list[tuple[int, str]]:
    """(length, text); length 0: not an instruction, or LLVM crashed over it."""
    out: list[tuple[int, str]] = []
    while len(out) < len(codes):
        run = subprocess.run(
            [sys.executable, __file__, "--worker", library, chip],
            text=True,
            capture_output=True,
            input="".join(code.hex() + "\n" for code in codes[len(out) :]),
        )
        for line in run.stdout.splitlines():
            length, _, text = line.partition(" ")
            out.append((int(length), text))
        if run.returncode and len(out) < len(codes):
            print(f"{chip}: LLVM ended with {run.returncode} at {codes[len(out)].hex()}", file=sys.stderr)
            out.append((0, ""))
    return out


def reassemble(chip: str, texts: list[str]) -> list[str]:
    """What zig's LLVM makes of the texts: hexadecimal bytes, '' where it refuses."""
    spec = importlib.util.find_spec("ziglang")
    assert spec is not None and spec.origin is not None
    command = [
        str(Path(spec.origin).parent / "zig"),
        "clang",
        "-cc1as",
        "-triple",
        "amdgcn-amd-amdhsa",
        "-target-cpu",
        chip,
        "-target-feature",
        FEATURES,
        "-filetype",
        "asm",
        "-show-encoding",
        "-o",
        "-",
    ]
    source = Path("/tmp") / f"isa_corpus_{chip}.s"
    good = set(range(len(texts)))
    for _ in range(3):
        source.write_text("\n".join(text if n in good else "" for n, text in enumerate(texts)) + "\n")
        run = subprocess.run([*command, str(source)], capture_output=True, text=True)
        bad = {
            int(m[1]) - 1 for m in re.finditer(rf"^{re.escape(str(source))}:(\d+):\d+: error", run.stderr, re.MULTILINE)
        }
        if not bad:
            break
        good -= bad
    codes = iter(re.findall(r"encoding: \[([^\]]*)\]", run.stdout))
    source.unlink()
    return [re.sub("0x|,", "", next(codes, "")) if n in good else "" for n in range(len(texts))]


def accept(library: str, chip: str, facts: dict) -> tuple[list[tuple[str, Candidate]], list[Candidate]]:
    """One draw of every variant that LLVM reads, and one of every row and unused number that it never does."""
    drawn = list(candidates(facts)) + list(unused(facts))
    found = disassemble(library, chip, [c.code for c in drawn])
    fit = [
        (text, c)
        for c, (length, text) in zip(drawn, found)
        if length == len(c.code) and "/*" not in text and text != "v_illegal"
    ]
    again = reassemble(chip, [text for text, _ in fit])
    chosen: dict[tuple[str, str], tuple[str, Candidate]] = {}
    for (text, c), code in zip(fit, again):
        if code == c.code.hex():
            chosen.setdefault((c.key, c.variant), (text, c))
    canonical = {key for key, _ in chosen}
    for text, c in fit:
        if c.key not in canonical:
            chosen.setdefault((c.key, c.variant), (text, c))
    for text, c in fit:
        if c.variant.startswith("unused"):
            print(f"  no row for {c.code.hex()} {text}")
    keys = {key for key, _ in chosen}
    rest: dict[str, Candidate] = {}
    for c in drawn:
        if c.key not in keys:
            rest.setdefault(c.key, c)
    print(
        f"{chip}: {len(drawn)} drawn, {len(fit)} read by LLVM, {sum(map(bool, again))} assembled again, "
        f"{len(chosen)} kept; {len(keys)} rows with, {len(rest)} numbers without"
    )
    return list(chosen.values()), list(rest.values())


def version(library: str) -> str:
    llvm = ctypes.CDLL(library)
    numbers = [ctypes.c_uint() for _ in range(3)]
    llvm.LLVMGetVersion(*map(ctypes.byref, numbers))
    return ".".join(str(n.value) for n in numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llvm")
    parser.add_argument("--second")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(*args.worker)
        return
    for arch, chip in CHIPS.items():
        facts = json.loads((DATA / f"{arch}.json").read_text())
        kept, rejected = accept(args.llvm, chip, facts)
        unique = dict(sorted({c.code.hex(): text for text, c in kept}.items(), key=lambda item: (item[1], item[0])))
        head = [
            f"# {chip}: encodings and their text by LLVM {version(args.llvm)}'s disassembler ({FEATURES}).",
            "# Written by tools/isa_corpus.py. A line that begins with '-' is no instruction of this chip.",
        ]
        lines = (
            head + [f"-{c.code.hex()} {c.key}" for c in rejected] + [f"{code} {text}" for code, text in unique.items()]
        )
        target = OUT / f"{chip}.txt.xz"
        target.write_bytes(lzma.compress("\n".join(lines).encode() + b"\n", preset=9 | lzma.PRESET_EXTREME))
        print(f"{target.name}: {len(unique)} lines, {target.stat().st_size} bytes")
        if args.second:
            other = disassemble(args.second, chip, [bytes.fromhex(code) for code in unique])
            differs = collections.Counter()
            for (code, text), (length, second) in zip(unique.items(), other):
                if second != text:
                    differs[
                        "refused"
                        if not length
                        else "length"
                        if 2 * length != len(code)
                        else "mnemonic"
                        if second.split()[0] != text.split()[0]
                        else "operands"
                    ] += 1
                    if differs.total() < 400 and length:
                        print(f"  {code} | {text} | {second}")
            print(f"  LLVM {version(args.second)} reads {differs.total()} of {len(unique)} otherwise: {dict(differs)}")


if __name__ == "__main__":
    main()
