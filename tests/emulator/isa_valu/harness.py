"""Runs single instructions on the emulated shader core: registers in, registers out.

All instructions of a test module are assembled at once into one object. Each becomes a small kernel
that loads registers v2..v25 and a few scalars from an input block, executes the instruction, and
stores the same registers and the scalar results. One workgroup of one wave per input block; as wave64,
each pair of blocks is the two halves of one wave.
"""
from __future__ import annotations

import functools
import io
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from torch_usbgpu import _emulator

FIRST, COUNT = 2, 24          # registers v2..v25 are loaded and stored
BLOCK = 4096                  # bytes per input and output block
HEADER = 128                  # scalars in front of the registers
CODE, IN, OUT, MAX_BLOCKS = 0x10000000, 0x20000000, 0x30000000, 16
RSRC1 = 15 | 0xF0 << 12 | 1 << 21 | 1 << 23   # 128 VGPRs; denormals kept, DX10_CLAMP, IEEE: what clang asks for
RSRC2 = 4 << 1 | 1 << 7                       # four user SGPRs, then the workgroup's x
VCC, EXEC, M0, MASK, SGPR, SGPR_HIGH, SDST = range(7)  # dwords of the header
KERNEL = """
.p2align 8
{name}:
{address}
  v_and_b32 v127, 31, v0
  v_lshlrev_b32 v127, 2, v127
  v_lshrrev_b32 v126, 5, v0
  v_lshl_or_b32 v127, v126, 12, v127
  s_load_b256 s[24:31], s[0:1], 0x0
{high_header}
{loads}
{wait}
  s_mov_b32 vcc_lo, s24
  s_mov_b32 m0, s26
  s_mov_b32 s21, s27
  s_mov_b32 s20, s30
{high_masks}
  s_mov_b32 exec_lo, s25
{code}
{results}
{stores}
  s_endpgm
"""
# gfx11: the workgroup's number is the first SGPR behind the user's; gfx12: TTMP9
ADDRESS = {"gfx11": """  s_lshl_b32 s5, s4, {shift}
  s_add_u32 s0, s0, s5
  s_addc_u32 s1, s1, 0
  s_add_u32 s2, s2, s5
  s_addc_u32 s3, s3, 0""", "gfx12": """  s_lshl_b32 s5, ttmp9, {shift}
  s_add_co_u32 s0, s0, s5
  s_add_co_ci_u32 s1, s1, 0
  s_add_co_u32 s2, s2, s5
  s_add_co_ci_u32 s3, s3, 0"""}
WAIT = {"gfx11": "  s_waitcnt vmcnt(0) lgkmcnt(0)", "gfx12": "  s_wait_loadcnt 0x0\n  s_wait_kmcnt 0x0"}
RESULTS = """  s_mov_b32 s22, exec_lo
  s_mov_b32 exec_lo, -1
  v_mov_b32 v26, s20
  v_mov_b32 v27, s22
  v_mov_b32 v28, vcc_lo"""
# wave64: masks are pairs of SGPRs, s[44:45] and s[46:47] in place of s20 and s21
HIGH_HEADER = "  s_load_b256 s[36:43], s[0:1], 0x1000"
HIGH_MASKS = """  s_mov_b32 vcc_hi, s36
  s_mov_b32 s46, s27
  s_mov_b32 s47, s39
  s_mov_b32 s44, s30
  s_mov_b32 s45, s42
  s_mov_b32 exec_hi, s37"""
RESULTS64 = """  s_mov_b64 s[22:23], exec
  s_mov_b64 exec, 0xffffffff
  v_mov_b32 v26, s44
  v_mov_b32 v27, s22
  v_mov_b32 v28, vcc_lo
  s_not_b64 exec, exec
  v_mov_b32 v26, s45
  v_mov_b32 v27, s23
  v_mov_b32 v28, vcc_hi
  s_mov_b64 exec, -1"""
LOADS = "\n".join(f"  global_load_b32 v{FIRST + n}, v127, s[0:1] offset:{HEADER + 128 * n}" for n in range(COUNT))
STORES = "\n".join(f"  global_store_b32 v127, v{FIRST + n}, s[2:3] offset:{HEADER + 128 * n}" for n in range(COUNT + 3))


CHIPS = ("gfx1100", "gfx1201")
# RDNA4's names for what computes the same. The cases are written in RDNA3's.
RENAMED = [(re.compile(rf"\b{old}(?![a-z0-9])"), new) for old, new in (
    (r"v_(dual_|pk_)?(min|max)_(f16|f32|f64)", r"v_\1\2_num_\3"), (r"v_(min3|max3|med3|minmax|maxmin)_(f16|f32)", r"v_\1_num_\2"),
    (r"v_mad_(u64_u32|i64_i32)", r"v_mad_co_\1"))]
SUFFIX = re.compile("(_e32|_e64|_dpp|_e64_dpp)$")


def spelled(code: str, chip: str) -> str:
    for old, new in RENAMED if chip == "gfx1201" else ():
        code = old.sub(new, code)
    return code


def exists(code: str, chip: str) -> bool:
    """Is every instruction in the table of the chip?"""
    names = [SUFFIX.sub("", part.split()[0]) for line in code.split("\n") for part in line.split("::")]
    return all(name in known(chip) for name in names if name.startswith(("v_", "s_", "ds_")))


@functools.cache
def known(chip: str) -> frozenset[str]:
    return frozenset(_emulator.isa.mnemonics(chip))


def clang() -> list[str]:
    return [sys.executable, "-m", "ziglang", "clang"]


def assemble(text: str, where: Path, target: str = "gfx1100", wave64: bool = False) -> ELFFile:
    source, object_file = where / "cases.s", where / "cases.o"
    source.write_text(text)
    features = ["+real-true16"] if target.startswith("gfx12") else []  # names of register halves, as for gfx11
    features += ["+wavefrontsize64"] if wave64 else []
    done = subprocess.run([*clang(), "-cc1as", "-triple", "amdgcn-amd-amdhsa", "-target-cpu", target, "-filetype", "obj",
                           *(word for f in features for word in ("-target-feature", f)), "-o", object_file, source],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    return ELFFile(io.BytesIO(object_file.read_bytes()))


@dataclass
class Inputs:
    """Registers and scalars of `blocks` waves. registers: [block][register - 2][lane]."""
    blocks: int
    registers: np.ndarray = field(init=False)
    scalars: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.registers = np.zeros((self.blocks, COUNT, 32), np.uint32)
        self.scalars = np.zeros((self.blocks, 32), np.uint32)
        self.scalars[:, EXEC] = 0xFFFFFFFF

    def pair(self) -> None:
        """As wave64: what is no lane mask is the same in both blocks of a pair."""
        for column in (M0, SGPR, SGPR_HIGH):
            self.scalars[1::2, column] = self.scalars[::2, column]

    def set(self, register: int, values: np.ndarray, width: int = 32) -> None:
        """`values`: uint64, one per (block, lane)."""
        values = np.asarray(values, np.uint64).reshape(self.blocks, 32)
        self.registers[:, register - FIRST] = (values & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        if width == 64:
            self.registers[:, register - FIRST + 1] = (values >> np.uint64(32)).astype(np.uint32)

    def get(self, register: int, width: int = 32) -> np.ndarray:
        low = self.registers[:, register - FIRST].astype(np.uint64)
        if width == 64:
            low |= self.registers[:, register - FIRST + 1].astype(np.uint64) << np.uint64(32)
        return low

    def active(self) -> np.ndarray:
        """[block][lane] by EXEC."""
        return (self.scalars[:, EXEC, None] >> np.arange(32, dtype=np.uint32) & 1).astype(bool)


@dataclass
class Outputs:
    registers: np.ndarray      # as in Inputs
    sdst: np.ndarray           # s20 per block
    exec: np.ndarray
    vcc: np.ndarray

    get = Inputs.get


class Assembled:
    """Kernels by name, from {name: instruction lines}."""

    def __init__(self, cases: dict[str, str], where: Path, target: str = "gfx1100", wave64: bool = False) -> None:
        self.target, self.wave64 = target, wave64
        arch = target[:5]
        fixed = {"address": ADDRESS[arch].format(shift=13 if wave64 else 12), "wait": WAIT[arch], "loads": LOADS, "stores": STORES,
                 "high_header": HIGH_HEADER if wave64 else "", "high_masks": HIGH_MASKS if wave64 else "",
                 "results": RESULTS64 if wave64 else RESULTS}
        text = [f'.amdgcn_target "amdgcn-amd-amdhsa--{target}"', ".text"]
        for name, code in cases.items():
            if wave64:
                code = re.sub(r"\bs21\b", "s[46:47]", re.sub(r"\bs20\b", "s[44:45]", code))
            text.append(KERNEL.format(name=name, code="\n".join("  " + line for line in code.split("\n")), **fixed))
        elf = assemble("\n".join(text), where, target, wave64)
        code = elf.get_section_by_name(".text").data()
        self.memory = _emulator.isa.FlatMemory()
        self.memory.map(CODE, len(code) + 4096 & -4096, write=False, execute=True)
        self.memory.write(CODE, code)
        self.memory.map(IN, MAX_BLOCKS * BLOCK)
        self.memory.map(OUT, MAX_BLOCKS * BLOCK)
        self.cores = _emulator.isa.Cores(threads=1)
        self.entry = {s.name: s["st_value"] for s in elf.get_section_by_name(".symtab").iter_symbols()}

    def run(self, name: str, inputs: Inputs, rsrc1: int = RSRC1) -> Outputs:
        block = np.zeros((inputs.blocks, BLOCK // 4), np.uint32)
        block[:, :32] = inputs.scalars
        block[:, 32:32 + COUNT * 32] = inputs.registers.reshape(inputs.blocks, -1)
        self.memory.write(IN, block.tobytes())
        lanes, groups = (64, inputs.blocks // 2) if self.wave64 else (32, inputs.blocks)
        result = self.cores.run(self.memory, CODE + self.entry[name], rsrc1, RSRC2, [IN, 0, OUT, 0], (groups, 1, 1), (lanes, 1, 1),
                                initiator=5 if self.wave64 else 0x8005, arch=self.target)
        assert result["end"] == "complete", result["fault"]
        out = self.memory.read(OUT, inputs.blocks * BLOCK)
        words = np.frombuffer(out, np.uint32).reshape(inputs.blocks, -1)[:, 32:32 + (COUNT + 3) * 32]
        words = words.reshape(inputs.blocks, COUNT + 3, 32)
        return Outputs(words[:, :COUNT], *(words[:, COUNT + n, 0] for n in range(3)))


class OnChip:
    """Cases in gfx11's names on either chip; without the instruction the test is skipped."""

    def __init__(self, cases: dict[str, str], where: Path, chip: str) -> None:
        cases = {name: spelled(code, chip) for name, code in cases.items()}
        self.chip, self.absent = chip, {name for name, code in cases.items() if not exists(code, chip)}
        self.assembled = Assembled({name: code for name, code in cases.items() if name not in self.absent}, where, chip)

    def run(self, name: str, inputs: Inputs) -> Outputs:
        if name in self.absent:
            pytest.skip(f"{name}: not on {self.chip}")
        return self.assembled.run(name, inputs)
