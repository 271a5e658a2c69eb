"""Faults of compiled kernels: named down to the instruction, and survivable."""
from __future__ import annotations

import struct

import pytest
from torch_usbgpu import compiler
from torch_usbgpu.amdgpu import Gpu
from torch_usbgpu.errors import GpuFault, IllegalInstruction
from torch_usbgpu.runtime import codeobject

from ..chip import IS_GFX12
from .test_queues import UNMAPPED, Stream, address, assert_works, catch_fault, read_dword, release, wait_until, words

SOURCE = """
extern "C" __global__ void store(int *to, int value) { to[threadIdx.x] = value; }
extern "C" __global__ void load(const int *from, int *to) { to[threadIdx.x] = from[threadIdx.x]; }
extern "C" __global__ void illegal() { asm volatile("s_nop 0\\n.long 0xbfffffff"); }
"""
PRIV = 0 if IS_GFX12 else 1 << 20        # of COMPUTE_PGM_RSRC1


def set_sh(register: int, *values: int) -> bytes:
    return words(0xC000_7600 | len(values) << 16, register, *values)


class Kernels:
    """The kernels, loaded into VRAM, and a bare dispatcher for them."""

    def __init__(self, gpu: Gpu):
        self.gpu, self.image = gpu, codeobject.load(compiler.compile(SOURCE, gpu.arch))
        self.paddr = gpu.memory.heap_start + 0x10_0000
        self.code = gpu.memory.vram_va(self.paddr)
        gpu.vram_write(self.paddr, self.image.placed_at(self.code))
        gpu.memory.flush_hdp()

    def at(self, pc: int) -> str | None:
        """Name of the kernel that a program counter lies in."""
        starts = {self.code + k.entry_offset: name for name, k in self.image.kernels.items()}
        before = [start for start in starts if start <= pc < self.code + len(self.image.image)]
        return starts[max(before)] if before else None

    def dispatch(self, name: str, arguments: bytes) -> bytes:
        kernel, kernarg = self.image.kernels[name], self.paddr + 0x1_0000
        self.gpu.vram_write(kernarg, arguments)
        va = self.gpu.memory.vram_va(kernarg)
        start = self.code + kernel.entry_offset >> 8
        return b"".join([
            words(0xC006_5800, 0, 0xFFFF_FFFF, 0xFFFF_FFFF, 0, 0, 0, 0xC3F1),
            set_sh(0x20C, *address(start)), set_sh(0x212, kernel.rsrc1 | PRIV, kernel.rsrc2), set_sh(0x228, kernel.rsrc3),
            set_sh(0x240, *address(va)), set_sh(0x207, 32, 1, 1), words(0xC003_1500, 1, 1, 1, 0x8005)])


@pytest.fixture
def gpu(board) -> Gpu:
    gpu = board.boot()
    yield gpu
    gpu.shutdown()


def test_a_kernel_runs(gpu):
    kernels, at = Kernels(gpu), gpu.memory.heap_start
    gpu.vram_write(at, bytes(256))
    va = gpu.memory.vram_va(at)
    Stream(gpu.compute_queue, 4).submit(kernels.dispatch("store", struct.pack("<QI", va, 0x55)), release(va + 192, 1))
    assert wait_until(lambda: read_dword(gpu, at + 192) == 1)
    assert gpu.vram_read(at, 192) == words(0x55) * 32 + bytes(64)
    gpu.check_faults(kernels.at)


@pytest.mark.parametrize(("name", "arguments", "access"), [
    ("store", struct.pack("<QI", UNMAPPED + 0x123C, 7), "write to"),
    ("load", struct.pack("<QQ", UNMAPPED + 0x123C, UNMAPPED), "read of"),
    ("store", struct.pack("<QI", 0, 7), "write to")])
def test_an_unmapped_address_is_reported_with_its_kernel(gpu, name, arguments, access):
    kernels, at = Kernels(gpu), gpu.memory.heap_start
    gpu.vram_write(at, b"data" + bytes(12))
    Stream(gpu.compute_queue, 4).submit(kernels.dispatch(name, arguments), release(gpu.memory.vram_va(at + 4), 1))
    caught = []

    def looked() -> bool:
        try:
            gpu.check_faults(kernels.at)
        except GpuFault as fault:
            caught.append(fault)
        return bool(caught)

    assert wait_until(looked)
    (fault,) = caught
    wanted = struct.unpack_from("<Q", arguments)[0]
    assert fault.kernel == name and fault.address == wanted & ~0xFFF and access in fault.found
    start = kernels.code + kernels.image.kernels[name].entry_offset
    assert start <= fault.pc < start + 256
    assert fault.state["lanes"] == "0xffffffff"
    assert bytes.fromhex(fault.state["code"].split()[0])[::-1] == gpu.vram_read(fault.pc - kernels.code + kernels.paddr, 4)
    assert read_dword(gpu, at + 4) == 0, "what follows a faulting kernel must not be signalled"
    gpu.recover_queues()
    assert gpu.vram_read(at, 4) == b"data"
    assert_works(gpu)


def test_an_illegal_instruction(gpu):
    kernels = Kernels(gpu)
    Stream(gpu.compute_queue, 4).submit(kernels.dispatch("illegal", b"\0" * 8))
    fault = catch_fault(gpu)
    assert type(fault) is IllegalInstruction and kernels.at(fault.pc) == "illegal"
    assert fault.state["lanes"] == "0xffffffff"
    assert gpu.vram_read(fault.pc - kernels.code + kernels.paddr, 4).hex() == bytes.fromhex(fault.state["code"][:8])[::-1].hex()
    gpu.recover_queues()
    gpu.check_faults(kernels.at)
    assert_works(gpu)
