"""Both queues with real packets, on the emulated board: work, faults, hangs, recovery."""
from __future__ import annotations

import struct
import time

import pytest

from torch_usbgpu.amdgpu import Gpu, layout
from torch_usbgpu.errors import GpuFault

UNMAPPED = layout.VA_BASE + 200 * layout.GIB


def wait_until(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *(value & 0xFFFF_FFFF for value in values))


def address(value: int) -> tuple[int, int]:
    return value & 0xFFFF_FFFF, value >> 32


# PM4 packets, written out as in the public headers (Linux nvd.h).
def write_data(va: int, *data: int) -> bytes:
    return words(0xC000_3700 | 2 + len(data) << 16, 5 << 8 | 1 << 20, *address(va), *data)


def release(va: int, value: int) -> bytes:
    return words(0xC006_4900, 0x0070_F514, 1 << 29, *address(va), value, 0, 0)


def wait_memory(va: int, value: int) -> bytes:
    return words(0xC005_3C00, 0x13, *address(va), value, 0xFFFF_FFFF, 4)


# SDMA packets (Linux sdma_v6_0_0_pkt_open.h).
def copy(to: int, source: int, nbytes: int) -> bytes:
    return words(1, nbytes - 1, 0, *address(source), *address(to))


def fence(va: int, value: int) -> bytes:
    return words(0x0003_0005, *address(va), value)


class Stream:
    """Writes packets behind each other and rings."""

    def __init__(self, queue, unit: int):
        self.queue, self.unit, self.at = queue, unit, 0

    def submit(self, *packets: bytes) -> None:
        data = b"".join(packets)
        self.queue.write_ring(self.at, data)
        self.at += len(data)
        self.queue.ring_doorbell(self.at // self.unit)


@pytest.fixture
def gpu(board) -> Gpu:
    gpu = board.boot()
    yield gpu
    gpu.shutdown()


def read_dword(gpu: Gpu, paddr: int) -> int:
    return int.from_bytes(gpu.vram_read(paddr, 4), "little")


def test_compute_queue_runs_packets(gpu):
    at = gpu.memory.heap_start
    gpu.vram_write(at, bytes(16))
    stream = Stream(gpu.compute_queue, 4)
    stream.submit(write_data(gpu.memory.vram_va(at), 0x1111, 0x2222), release(gpu.memory.vram_va(at + 8), 0x3333))
    assert wait_until(lambda: read_dword(gpu, at + 8) == 0x3333)
    assert gpu.vram_read(at, 8) == words(0x1111, 0x2222)
    assert wait_until(lambda: gpu.compute_queue.read_rptr() == stream.at // 4)
    gpu.check_faults()


def test_a_doorbell_is_one_control_transfer(gpu):
    gpu.adapter.stats.reset()
    gpu.compute_queue.ring_doorbell(0)
    stats = gpu.adapter.stats.snapshot()
    assert (stats["control_out"], stats["control_in"], stats["bulk_out"], stats["bulk_in"]) == (1, 0, 0, 0)


def test_copy_engine_moves_memory_and_sram(gpu):
    start, data = gpu.memory.heap_start, bytes(range(256)) * 32
    gpu.adapter.sram_write_landed(1, data)
    gpu.vram_write(start + len(data), bytes(len(data) + 4))
    va = gpu.memory.vram_va(start)
    Stream(gpu.sdma_queue, 1).submit(copy(va, gpu.memory.sram_va + 0x4000, len(data)), copy(va + len(data), va, len(data)),
                                     fence(va + 2 * len(data), 7))
    assert wait_until(lambda: read_dword(gpu, start + 2 * len(data)) == 7)
    assert gpu.vram_read(start, 2 * len(data)) == data * 2
    gpu.check_faults()


def test_the_gpu_writes_the_adapters_fence_page(gpu):
    gpu.adapter.write_xdata(0xA800, bytes(4))
    Stream(gpu.compute_queue, 4).submit(release(gpu.memory.submission_page_va + 0x800, 0x0102_0304))
    assert wait_until(lambda: gpu.adapter.read_xdata(0xA800, 4) == bytes([4, 3, 2, 1]))


def test_an_armed_read_is_released_by_the_gpu(gpu):
    data = bytes(range(200)) * 5
    gpu.vram_write(gpu.memory.heap_start, data)
    gpu.adapter.sram_arm_in(len(data))
    assert gpu.adapter.sram_finish_in(len(data), timeout_ms=5) is None
    Stream(gpu.sdma_queue, 1).submit(copy(gpu.memory.sram_va, gpu.memory.vram_va(gpu.memory.heap_start), len(data)),
                                     fence(gpu.memory.completion_page_va + 0xC, 0))
    assert gpu.adapter.sram_finish_in(len(data), timeout_ms=5000) == data


# ---- what can go wrong

def catch_fault(gpu: Gpu) -> GpuFault:
    caught: list[GpuFault] = []

    def looked() -> bool:
        try:
            gpu.check_faults()
        except GpuFault as fault:
            caught.append(fault)
        return bool(caught)

    assert wait_until(looked), "no fault was reported"
    return caught[0]


@pytest.mark.parametrize(("engine", "packet", "client", "access"), [
    ("compute", lambda va: write_data(va, 1), "GC hub, CPC", "write to"),
    ("compute", lambda va: wait_memory(va, 1), "GC hub, CPC", "read of"),
    ("SDMA", lambda va: fence(va, 1), "GC hub, SDMA0", "write to"),
    ("SDMA", lambda va: copy(layout.VA_BASE + 64 * layout.MIB, va, 64), "GC hub, SDMA0", "read of"),
])
def test_faults_of_the_engines_are_named(gpu, engine, packet, client, access):
    stream = Stream(gpu.compute_queue, 4) if engine == "compute" else Stream(gpu.sdma_queue, 1)
    stream.submit(packet(UNMAPPED + 0x5678))
    fault = catch_fault(gpu)
    assert fault.address == UNMAPPED + 0x5000 and fault.state["client"] == client and access in fault.found
    assert fault.kernel is None and gpu.failed
    gpu.recover_queues()
    gpu.check_faults()
    assert not gpu.failed
    assert_works(gpu)


def assert_works(gpu: Gpu) -> None:
    at = gpu.memory.heap_start + 4096
    gpu.vram_write(at, bytes(8))
    Stream(gpu.compute_queue, 4).submit(release(gpu.memory.vram_va(at), 5))
    Stream(gpu.sdma_queue, 1).submit(fence(gpu.memory.vram_va(at + 4), 6))
    assert wait_until(lambda: gpu.vram_read(at, 8) == words(5, 6))


def test_an_unknown_packet(gpu):
    Stream(gpu.compute_queue, 4).submit(words(0xC000_0000 | 0xEE << 8, 0))
    fault = catch_fault(gpu)
    assert "unknown packet" in fault.found and "CP_BAD_OPCODE_ERROR" in fault.state["interrupts"]
    gpu.recover_queues()
    assert_works(gpu)


def test_recovery_from_a_wait_without_end(gpu):
    at = gpu.memory.heap_start
    gpu.vram_write(at, b"kept" + bytes(12))
    never = gpu.memory.vram_va(at + 8)
    Stream(gpu.compute_queue, 4).submit(wait_memory(never, 1), release(gpu.memory.vram_va(at + 12), 9))
    Stream(gpu.sdma_queue, 1).submit(words(0xB000_0008, *address(never), 1, 0xFFFF_FFFF, 0x0FFF_0004))
    state = gpu.describe_hang()
    assert {"CP_HQD_PQ_RPTR", "SDMA0_STATUS_REG", "GRBM_STATUS"} <= state.keys()
    gpu.recover_queues()
    assert gpu.compute_queue.read_rptr() == gpu.sdma_queue.read_rptr() == 0
    assert gpu.vram_read(at, 4) == b"kept" and read_dword(gpu, at + 12) == 0
    assert_works(gpu)


def test_reset_after_a_hang_and_the_next_process_works(board):
    gpu = board.boot()
    Stream(gpu.compute_queue, 4).submit(wait_memory(gpu.memory.vram_va(gpu.memory.heap_start), 0x1234_5678))
    gpu.reset()
    assert_works(gpu)
    gpu.shutdown()
    assert_works(board.boot())


def test_ring_bounds(gpu):
    queue = gpu.compute_queue
    with pytest.raises(ValueError):
        queue.write_ring(queue.ring_bytes - 4, bytes(8))
    with pytest.raises(ValueError):
        gpu.memory.vram_va(gpu.memory.heap_end)
    with pytest.raises(ValueError):
        gpu.memory.uncached_va(layout.BOOT_REGION_BYTES)
