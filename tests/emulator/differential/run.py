"""One kernel on the emulated shader cores and on this machine, from the same argument values."""
from __future__ import annotations

import struct

import numpy as np

from tests.emulator.differential.build import HostLibrary, device_object
from tests.emulator.differential.model import GUARD, Kernel, same
from torch_usbgpu._emulator import isa
from torch_usbgpu.runtime import codeobject

CODE, KERNARG, DATA, SCRATCH = 0x1_0000_0000, 0x3_0000_0000, 0x5_0000_0000, 0x4_0000_0000
KERNARG_BYTES, DATA_BYTES, SCRATCH_SLOTS = 4096, 8 << 20, 64
DYNAMIC_STACK_BYTES = 4096          # per lane, for kernels whose depth of calls the compiler cannot tell
APERTURES = 0x2000_1000             # SH_MEM_BASES: LDS and scratch in the flat address space
WAVE32 = 1 << 15                    # DISPATCH_INITIATOR.CS_W32_EN


class Device:
    """The emulated cores of one chip with the kernels of one translation unit."""

    def __init__(self, kernels: list[Kernel], chip: str, wave64: bool = False, **options: object) -> None:
        self.wave64, self.chip = wave64, chip
        image = codeobject.load(device_object(kernels, chip, wave64))
        self.descriptors = image.kernels
        self.memory = isa.FlatMemory()
        code = image.placed_at(CODE)
        self.memory.map(CODE, len(code) + 4095 & -4096, execute=True)
        self.memory.write(CODE, code)
        self.memory.map(KERNARG, KERNARG_BYTES)
        self.memory.map(DATA, DATA_BYTES)
        self.cores = isa.Cores(**({"threads": 1, "poison": True} | options))
        self._scratch = 0

    def run(self, kernel: Kernel, values: list[np.ndarray]) -> list[np.ndarray]:
        d = self.descriptors[kernel.name]
        assert d.properties >> 10 & 1 == (not self.wave64), "compiled for the other wave size"
        block = bytearray(KERNARG_BYTES)
        places, at = [], DATA
        for argument, array, slot in zip(kernel.arguments, values, d.arguments, strict=True):
            if argument.count:
                assert at + array.nbytes < DATA + DATA_BYTES
                self.memory.write(at, array)
                places.append(at)
                struct.pack_into("<Q", block, slot.offset, at + GUARD)
                at += -(-array.nbytes // 256) * 256
            else:
                places.append(0)
                block[slot.offset:slot.offset + array.nbytes] = array.tobytes()
        if hidden := d.hidden_block(kernel.groups, kernel.threads, 0):
            block[hidden[0]:hidden[0] + len(hidden[1])] = hidden[1]
        self.memory.write(KERNARG, bytes(block))
        rsrc2 = d.rsrc2 & ~(0x1FF << 15) | -(-d.lds_bytes // 512) << 15
        initiator = 0x5 | (0 if self.wave64 else WAVE32)
        result = self.cores.run(self.memory, CODE + d.entry_offset, d.rsrc1, rsrc2, user_data(d),
                                kernel.groups, kernel.threads, initiator=initiator, sh_mem_bases=APERTURES, arch=self.chip,
                                **self.scratch(d))
        assert result["end"] == "complete", result["fault"]
        return [np.frombuffer(self.memory.read(place, array.nbytes), array.dtype) if place else array
                for place, array in zip(places, values, strict=True)]

    def scratch(self, descriptor: codeobject.KernelDescriptor) -> dict[str, int]:
        lane = descriptor.scratch_bytes + (DYNAMIC_STACK_BYTES if uses_dynamic_stack(descriptor) else 0)
        if not lane:
            return {}
        wave = -(-lane * (64 if self.wave64 else 32) // 256) * 256
        if wave > self._scratch:
            if self._scratch:
                self.memory.unmap(SCRATCH)
            self.memory.map(SCRATCH, wave * SCRATCH_SLOTS)
            self._scratch = wave
        return {"scratch_base": SCRATCH, "tmpring_size": SCRATCH_SLOTS | wave // 256 << 12}


def user_data(descriptor: codeobject.KernelDescriptor) -> list[int]:
    """User SGPRs in the order of the kernel descriptor's bits (LLVM AMDGPUUsage, "Initial Kernel Execution State"). Kernels that
    call through pointers ask for all of them; only the kernel arguments are ever read."""
    sizes = (4, 2, 2, 2, 2, 2, 1)
    words: list[int] = []
    for bit, size in enumerate(sizes):
        if descriptor.properties >> bit & 1:
            words += [KERNARG & 0xFFFFFFFF, KERNARG >> 32] if bit == 3 else [0] * size
    return words


def uses_dynamic_stack(descriptor: codeobject.KernelDescriptor) -> bool:
    return bool(descriptor.properties >> 11 & 1)


def on_host(library: HostLibrary, kernel: Kernel, values: list[np.ndarray]) -> list[np.ndarray]:
    values = [v.copy() for v in values]
    pointers = [np.array([v.ctypes.data + GUARD], np.uint64) if a.count else v for a, v in zip(kernel.arguments, values, strict=True)]
    library.run(kernel, [p.ctypes.data for p in pointers])
    return values


def differences(kernel: Kernel, device: list[np.ndarray], host: list[np.ndarray], before: list[np.ndarray]) -> list[str]:
    out = []
    for argument, d, h, b in zip(kernel.arguments, device, host, before, strict=True):
        if not argument.count:
            continue
        guard = GUARD // d.itemsize
        for side, array in (("device", d), ("host", h)):
            if not (np.array_equal(array[:guard], b[:guard]) and np.array_equal(array[-guard:], b[-guard:])):
                out.append(f"{kernel.name}: {argument.name}: the {side} wrote beside the buffer")
            if not argument.written and not np.array_equal(array, b):
                out.append(f"{kernel.name}: {argument.name}: the {side} wrote to an input")
        wrong = np.flatnonzero(~same(argument, d[guard:-guard], h[guard:-guard]))
        if len(wrong):
            n = int(wrong[0])
            width = 2 * d.itemsize
            mask = (1 << 4 * width) - 1
            inputs = ", ".join(f"{a.name}[{n}]={int(v[GUARD // v.itemsize + n]) & ((1 << 8 * v.itemsize) - 1):#x}"
                               for a, v in zip(kernel.arguments, before, strict=True) if a.count > n and not a.written)
            out.append(f"{kernel.name}: {argument.name}: {len(wrong)} of {argument.count} differ, first [{n}]: device "
                       f"{int(d[guard + n]) & mask:#0{width + 2}x}, host {int(h[guard + n]) & mask:#0{width + 2}x} ({inputs})")
    return out
