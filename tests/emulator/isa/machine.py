"""A bare machine for tests and benchmarks: compiled or assembled kernels on the emulated cores,
with a flat memory in place of the GPU around them."""
from __future__ import annotations

import functools
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import ziglang

from torch_usbgpu._emulator import isa
from torch_usbgpu.runtime import codeobject

ZIG = str(Path(ziglang.__file__).parent / "zig")
CC1 = ("-cc1 -triple amdgcn-amd-amdhsa -aux-triple x86_64-unknown-linux-gnu -x hip "
       "-fcuda-is-device -target-feature +cumode -O3 -std=c++20 -fgnuc-version=4.2.1 "
       "-mrelocation-model pic -pic-level 2 -mframe-pointer=none "
       "-fvisibility=hidden -fapply-global-visibility-to-externs "
       "-mllvm -amdgpu-internalize-symbols -nostdsysteminc -nobuiltininc "
       "-disable-free -disable-llvm-verifier -discard-value-names -fno-ident -ffp-contract=off").split()

CODE, DATA, KERNARG, SCRATCH = 0x1_0000_0000, 0x2_0000_0000, 0x3_0000_0000, 0x4_0000_0000
PROLOGUE = """
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
typedef unsigned u32; typedef unsigned long u64;
#define TID __builtin_amdgcn_workitem_id_x()
#define BLOCK __builtin_amdgcn_workgroup_id_x()
#define SYNC() do { __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup"); __builtin_amdgcn_s_barrier(); \\
                    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup"); } while (0)
#define KERNEL extern "C" __global__
"""


def _clang(arguments: list[str], source: str) -> bytes:
    run = subprocess.run([ZIG, "clang", *arguments, "-o", "-", "-"], input=source.encode(), capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


@functools.cache
def compile_hip(source: str, arch: str = "gfx1100") -> bytes:
    return _clang([*CC1, "-target-cpu", arch, "-emit-obj"], PROLOGUE + source)


@functools.cache
def compile_to_assembly(source: str, arch: str = "gfx1100") -> str:
    return _clang([*CC1, "-target-cpu", arch, "-S"], PROLOGUE + source).decode()


@functools.cache
def assemble(text: str, cpu: str = "gfx1100", wave64: bool = False) -> bytes:
    """The .text bytes of assembly source."""
    from elftools.elf.elffile import ELFFile
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "x.o"
        run = subprocess.run([ZIG, "clang", "--target=amdgcn-amd-amdhsa", f"-mcpu={cpu}", *(["-mwavefrontsize64"] if wave64 else []), "-x", "assembler", "-c",
            "-o", str(target), "-"],
                             input=text.encode() + b"\n", capture_output=True)
        assert run.returncode == 0, run.stderr.decode()
        with target.open("rb") as stream:
            return ELFFile(stream).get_section_by_name(".text").data()


class Machine:
    """Memory, cores and a bump allocator. Kernel arguments: arrays (copied in, and back by `run`), ints, floats."""

    def __init__(self, arch: str = "gfx1100", **options):
        self.arch = arch
        self.memory = isa.FlatMemory()
        self.cores = isa.Cores(**options)
        self.memory.map(KERNARG, 4096, write=False)
        self._next = DATA
        self._code = CODE

    def buffer(self, array: np.ndarray) -> int:
        """Maps exactly the array's bytes, so that the next byte faults."""
        va = self._next
        self.memory.map(va, array.nbytes)
        self.memory.write(va, np.ascontiguousarray(array))
        self._next += -(-array.nbytes // 0x200000) * 0x200000 + 0x200000
        return va

    def fetch(self, va: int, like: np.ndarray) -> np.ndarray:
        return np.frombuffer(self.memory.read(va, like.nbytes), like.dtype).reshape(like.shape).copy()

    def load(self, image: bytes) -> int:
        va = self._code
        self.memory.map(va, -(-len(image) // 4096) * 4096 + 4096, write=False, execute=True)
        self.memory.write(va, image)
        self._code += -(-len(image) // 0x10000) * 0x10000 + 0x10000
        return va

    def kernels(self, source: str) -> dict[str, Kernel]:
        image = codeobject.load(compile_hip(source, self.arch))
        va = self.load(image.placed_at(self._code))
        return {name: Kernel(self, descriptor, va) for name, descriptor in image.kernels.items()}

    def run_code(self, code: bytes, user_data=(), threads=32, groups=1, rsrc1=0xF0 << 12, lds_bytes=0, scratch=0,
        **more) -> dict:
        """Runs bare machine code; user SGPRs are s0.., the workgroup id follows them."""
        entry = self.load(code)
        rsrc2 = len(user_data) << 1 | 1 << 7 | -(-lds_bytes // 512) << 15 | (1 if scratch else 0)
        if scratch:
            more.update(self.scratch_for(scratch, threads))
        return self.cores.run(self.memory, entry, rsrc1, rsrc2, list(user_data), (groups, 1, 1), (threads, 1, 1),
            arch=self.arch, **more)

    def scratch_for(self, bytes_per_lane: int, threads: int) -> dict:
        wave = -(-bytes_per_lane * 64 // 256) * 256  # room for a wave64
        slots = 32
        try:
            self.memory.map(SCRATCH, wave * slots)
        except ValueError:
            self.memory.unmap(SCRATCH)
            self.memory.map(SCRATCH, wave * slots)
        return {"scratch_base": SCRATCH, "tmpring_size": slots | wave // 256 << 12}


class Kernel:
    def __init__(self, machine: Machine, descriptor, image_va: int):
        self.machine, self.descriptor, self.entry = machine, descriptor, image_va + descriptor.entry_offset

    def run(self, arguments, groups=(1, 1, 1), threads=(32, 1, 1), dynamic_lds=0, **more) -> dict:
        """Arguments: np scalars of the kernel's types, ints as 64-bit, arrays (updated in place)."""
        machine, d = self.machine, self.descriptor
        packed, arrays = b"", []
        for value in arguments:
            if isinstance(value, np.ndarray):
                va = machine.buffer(value)
                arrays.append((va, value))
                item = struct.pack("<Q", va)
            elif isinstance(value, np.generic):
                item = value.tobytes()
            else:
                item = struct.pack("<Q", value)
            packed += bytes(-len(packed) % len(item)) + item
        machine.memory.write(KERNARG, packed + bytes(256))
        rsrc2 = d.rsrc2 & ~(0x1FF << 15) | -(-(d.lds_bytes + dynamic_lds) // 512) << 15
        if d.scratch_bytes:
            more.update(machine.scratch_for(d.scratch_bytes, threads[0]))
        result = machine.cores.run(machine.memory, self.entry, d.rsrc1, rsrc2, [KERNARG & 0xFFFFFFFF, KERNARG >> 32],
                                   tuple(groups), tuple(threads), arch=machine.arch, **more)
        for va, array in arrays:
            array[...] = machine.fetch(va, array)
        return result
