"""Runs a compiled kernel on the emulator's shader cores, with nothing of a GPU around them."""
from __future__ import annotations

import struct

import numpy as np
import pytest

from torch_usbgpu import compiler
from torch_usbgpu.runtime import codeobject

from ..chip import ARCH

emulator = pytest.importorskip("torch_usbgpu._emulator", reason="the emulator extension is not built")

CODE, KERNARGS, SCRATCH, DATA = 0x10_0000, 0x800_0000, 0x1000_0000, 0x1_0000_0000


class Program:
    """A code object in an address space of its own; arrays are passed by reference, scalars by value.

    Loads are checked against their waits and fresh registers hold NaN patterns, so that a kernel
    that is right by luck is not.
    """

    def __init__(self, source: str, options=(), **cores):
        self.image = codeobject.load(compiler.compile(source, ARCH, options), ARCH)
        self.cores = emulator.isa.Cores(**({"threads": 1, "poison": True, "strict_waits": True} | cores))
        self.memory = emulator.isa.FlatMemory()
        self.memory.map(CODE, len(self.image.image), write=True, execute=True)
        self.memory.write(CODE, self.image.placed_at(CODE))
        self.memory.map(KERNARGS, 4096)
        self.mapped: dict[int, int] = {}
        self.next = DATA

    def _map(self, array: np.ndarray) -> int:
        address = self.next
        size = max(array.nbytes, 4)
        # A hole behind every array: running over the end is a fault.
        self.memory.map(address, size)
        self.next += (size + 0xFFFF) // 0x1_0000 * 0x1_0000 + 0x1_0000
        if array.nbytes:
            self.memory.write(address, np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        return address

    def launch(self, name, grid, block, *arguments, dynamic_lds=0, check=True):
        """Runs to the end; arrays among the arguments are updated in place. Returns the result."""
        kernel = self.image.kernels[name]
        groups, threads = (tuple(size) + (1,) * (3 - len(size)) for size in (grid, block))
        packed, arrays = bytearray(kernel.kernarg_bytes), []
        assert len(arguments) == len(kernel.arguments)
        for slot, argument in zip(kernel.arguments, arguments, strict=True):
            if isinstance(argument, np.ndarray):
                address = self._map(argument)
                arrays.append((address, argument))
                raw = struct.pack("<Q", address)
            elif isinstance(argument, bytes):
                raw = argument
            else:
                raw = argument.tobytes()
            assert len(raw) == slot.size, (name, slot, argument)
            packed[slot.offset:slot.offset + slot.size] = raw
        start, hidden = kernel.hidden_block(groups, threads, dynamic_lds)
        packed[start:start + len(hidden)] = hidden
        self.memory.write(KERNARGS, bytes(packed) or b"\0")
        # LDS_SIZE, rsrc2 bits 23:15, in blocks of 512 bytes.
        blocks = -(-(kernel.lds_bytes + dynamic_lds) // 512)
        result = self.cores.run(self.memory, CODE + kernel.entry_offset, kernel.rsrc1, kernel.rsrc2 | blocks << 15,
                                [KERNARGS & 0xFFFFFFFF, KERNARGS >> 32], groups, threads, arch=ARCH)
        if check:
            assert result["end"] == "complete", result["fault"]
        for address, array in arrays:
            if array.nbytes:
                flat = np.frombuffer(self.memory.read(address, array.nbytes), np.uint8).view(array.dtype)
                array[...] = flat.reshape(array.shape)
            self.memory.unmap(address)
        return result
