"""Packets of the compute ring, queue states, faults."""
from __future__ import annotations

import struct

import pytest

from .board import DATA, DUMMY_PAGE, FB, POINTERS, RING, RWX, SRAM_BUS, SRAM_VA, SYSTEM, UC, VA, VRAM_VA, Board, wait

NOP1 = 0xFFFF1000
HERE = VRAM_VA + DATA


def split(va: int) -> tuple[int, int]:
    return va & 0xFFFFFFFF, va >> 32


def packet(opcode: int, *body: int) -> tuple[int, ...]:
    return (0xC0000000 | (len(body) - 1) << 16 | opcode << 8, *body)


def write_data(va: int, *values: int, control: int = 5 << 8) -> tuple[int, ...]:
    return packet(0x37, control, *split(va), *values)


def release(va: int, value: int, data_sel: int = 1, interrupt: int = 0) -> tuple[int, ...]:
    return packet(0x49, 0x0070F514, data_sel << 29 | interrupt << 24, *split(va), value & 0xFFFFFFFF, value >> 32, 0x55)


def wait_memory(va: int, reference: int, function: int = 3, mask: int = 0xFFFFFFFF) -> tuple[int, ...]:
    return packet(0x3C, 0x10 | function, *split(va), reference, mask, 4)


@pytest.fixture(params=[False, True], ids=["threads", "deterministic"])
def board(request):
    return Board(deterministic=request.param).boot()


@pytest.fixture
def threaded():
    return Board().boot()


def ran(board: Board) -> bool:
    return board.gpu.wait_idle() and board.gpu.last_stop == ""


def test_write_and_release(board):
    board.submit(*write_data(HERE, 1, 2, 3), *release(HERE + 0x10, 0x77), *release(HERE + 0x18, 0x1122334455667788, 2))
    assert ran(board), board.gpu.last_stop
    assert struct.unpack("<3I", board.gpu.vram_read(DATA, 12)) == (1, 2, 3)
    assert board.peek(DATA + 0x10) == 0x77
    assert board.peek64(DATA + 0x18) == 0x1122334455667788
    assert board.peek(POINTERS + 0x80) == board.wptr     # rptr report, in dwords


def test_no_increment(board):
    board.submit(*write_data(HERE, 1, 2, 3, control=5 << 8 | 1 << 16))
    assert ran(board)
    assert board.peek(DATA) == 3 and board.peek(DATA + 4) == 0


def test_registers(board):
    scratch = board.gpu.address("SCRATCH_REG3")
    board.submit(*packet(0x37, 0, scratch, 0, 0xABCD), *packet(0x79, scratch + 1 - 0xC000, 0x1234),
                 *packet(0x40, 0 | 2 << 8, scratch, 0, *split(HERE)),             # register -> memory
                 *packet(0x40, 5 | 2 << 8 | 1 << 16, 0x99, 0x88, *split(HERE + 8)),  # immediate, 64 bits
                 *packet(0x40, 2 | 0 << 8, *split(HERE), scratch + 2, 0),         # memory -> register
                 *packet(0x40, 2 | 2 << 8, *split(HERE + 8), *split(HERE + 0x10)))
    assert ran(board)
    assert board.read("SCRATCH_REG4") == 0x1234
    assert board.peek(DATA) == 0xABCD and board.read("SCRATCH_REG5") == 0xABCD
    assert board.peek64(DATA + 8) == 0x88_0000_0099
    assert board.peek(DATA + 0x10) == 0x99


def test_clock_runs(board):
    board.submit(*release(HERE, 0, 3), *packet(0x40, 9 | 2 << 8 | 1 << 16, 0, 0, *split(HERE + 8)))
    assert ran(board)
    assert 0 < board.peek64(DATA) <= board.peek64(DATA + 8)


@pytest.mark.parametrize("function, value, reference, holds", [
    (0, 0, 9, True), (1, 1, 2, True), (1, 2, 2, False), (2, 2, 2, True), (2, 3, 2, False), (3, 5, 5, True), (3, 4, 5, False),
    (4, 4, 5, True), (4, 5, 5, False), (5, 5, 5, True), (5, 4, 5, False), (6, 0xFFFFFFFF, 5, True), (6, 5, 5, False)])
def test_wait_compares_unsigned(threaded, function, value, reference, holds):
    threaded.poke(DATA, value)
    threaded.submit(*wait_memory(HERE, reference, function), *release(HERE + 8, 1))
    done = wait(lambda: threaded.peek(DATA + 8) == 1, 0.5 if holds else 0.02)
    assert done == holds


def test_wait_on_bridge_memory(board):
    """The way commands come in: poll SRAM, jump into it, read kernel arguments from it."""
    ib = SRAM_VA + 0x1000
    command = struct.pack("<12I", *write_data(HERE, 0x5A5A), *([NOP1] * 7))
    board.submit(*wait_memory(SRAM_VA, 7), *packet(0x3F, *split(ib), 12 | 1 << 23), *release(HERE + 4, 9))
    assert not wait(lambda: board.peek(DATA + 4) == 9, 0.02)
    board.gpu.bus_write(SRAM_BUS + 0x1000, command)
    assert board.peek(DATA) == 0
    board.gpu.bus_write(SRAM_BUS, struct.pack("<I", 7))
    assert wait(lambda: board.peek(DATA + 4) == 9)
    assert board.peek(DATA) == 0x5A5A


def test_store_to_the_bridge(board):
    board.map(VA + 0x820000, 0x820000, 1, RWX | SYSTEM | UC)
    board.submit(*write_data(SRAM_VA + 0x20, 0xCAFE), *release(VA + 0x820800, 0x31))
    assert ran(board)
    assert board.gpu.bus_read(SRAM_BUS + 0x20, 4) == struct.pack("<I", 0xCAFE)
    assert board.gpu.bus_read(0x820800, 4) == struct.pack("<I", 0x31)
    assert [w for w in board.gpu.take_bus_writes()] == [(SRAM_BUS + 0x20, 4), (0x820800, 4)]


def test_hdp_flush_from_the_ring(board):
    done, request = board.gpu.address("BIF_BX_PF0_GPU_HDP_FLUSH_DONE"), board.gpu.address("BIF_BX_PF0_GPU_HDP_FLUSH_REQ")
    board.submit(*packet(0x3C, 0x45, request, done, 0xFFFFFFFF, 0xFFFFFFFF, 4), *release(HERE, 3))
    assert ran(board) and board.peek(DATA) == 3


def test_indirect_buffers_nest_and_chain(board):
    first, second, third = DATA + 0x1000, DATA + 0x2000, DATA + 0x3000
    board.poke(third, *write_data(HERE + 8, 3))
    board.poke(second, *write_data(HERE + 4, 2), *packet(0x3F, *split(VRAM_VA + third), 5 | 1 << 20 | 1 << 23))
    board.poke(first, *write_data(HERE, 1), *packet(0x3F, *split(VRAM_VA + second), 9 | 1 << 23), *write_data(HERE + 12, 4))
    board.submit(*packet(0x3F, *split(VRAM_VA + first), 14 | 1 << 23), *write_data(HERE + 16, 5))
    assert ran(board), board.gpu.last_stop
    assert struct.unpack("<5I", board.gpu.vram_read(DATA, 20)) == (1, 2, 3, 4, 5)


def test_ring_wraps_and_pointer_does_not(threaded):
    for i in range(1200):                         # 2048 dwords of ring, 5 per packet
        threaded.submit(*write_data(HERE, i))
        if i % 300 == 299:
            assert threaded.gpu.wait_idle()
    assert threaded.wptr == 6000 and threaded.peek(DATA) == 1199
    assert threaded.peek(POINTERS + 0x80) == 6000


def test_half_published_packet_waits(threaded):
    words = write_data(HERE, 0x11)
    for i, word in enumerate(words):
        threaded.poke(RING + 4 * i, word)
    threaded.gpu.doorbell_write(0x18, 3)
    assert not wait(lambda: threaded.peek(DATA) == 0x11, 0.02)
    threaded.gpu.doorbell_write(0x18, len(words))
    assert wait(lambda: threaded.peek(DATA) == 0x11)


def test_dma_data(board):
    board.poke(DATA + 0x100, 1, 2, 3)
    board.submit(*packet(0x50, 3 << 29 | 3 << 20, *split(HERE + 0x100), *split(HERE), 12),
                 *packet(0x50, 2 << 29 | 3 << 20, 0x77, 0, *split(HERE + 0x20), 8))
    assert ran(board)
    assert struct.unpack("<3I", board.gpu.vram_read(DATA, 12)) == (1, 2, 3)
    assert board.peek(DATA + 0x24) == 0x77


def test_end_of_pipe_interrupt(board):
    board.interrupts()
    board.submit(*release(HERE, 1, 1, 2))
    assert ran(board)
    assert [(c, s, w[0]) for c, s, w in board.interrupts()] == [(20, 181, 0x55)]


@pytest.mark.parametrize("words", [(0xC0003300, 0), (0, 0), (0x80000000,), packet(0x15, 1, 1)], ids=["unknown", "zero", "type 2", "short"])
def test_bad_packet_stops_the_queue(board, words):
    board.interrupts()
    board.submit(*words, *release(HERE, 1))
    assert wait(lambda: board.gpu.last_stop != "")
    entries = board.interrupts()
    assert [(c, s) for c, s, _ in entries] == [(20, 183)]
    assert entries[0][2][0] & 0x3FF == 6                     # doorbell slot
    board.submit(*release(HERE, 1))
    assert not wait(lambda: board.peek(DATA) == 1, 0.02)
    assert board.read("CP_STAT") >> 31


def test_dequeue_and_start_again(board):
    board.submit(*wait_memory(HERE, 1))                      # never true
    assert not board.gpu.wait_idle(20)
    board.write("GRBM_GFX_CNTL", 4)
    assert board.read("CP_HQD_ACTIVE") == 1
    board.write("CP_HQD_DEQUEUE_REQUEST", 2)
    assert wait(lambda: board.read("CP_HQD_ACTIVE") == 0)
    board.map_compute_queue()
    board.mec_active()
    board.submit(*release(HERE + 4, 6))
    assert wait(lambda: board.peek(DATA + 4) == 6)


def test_soft_reset_stops_everything(board):
    board.submit(*wait_memory(HERE, 1))
    board.write("GRBM_SOFT_RESET", 0x40001)
    board.write("GRBM_SOFT_RESET", 0)
    board.write("GRBM_GFX_CNTL", 4)
    assert board.read("CP_HQD_ACTIVE") == 0
    board.map_compute_queue()
    board.mec_active()
    board.submit(*release(HERE + 4, 6))
    assert not wait(lambda: board.peek(DATA + 4) == 6, 0.02)  # the MEC wants its start address again
    board.mec_start_address()
    board.mec_reset_pulse()
    board.mec_enable()
    assert wait(lambda: board.peek(DATA + 4) == 6)


def test_release_without_eop_buffer_faults_at_zero(threaded):
    threaded.faults_stop()
    threaded.write("GRBM_GFX_CNTL", 4)
    threaded.write("CP_HQD_EOP_BASE_ADDR", 0)
    threaded.write("CP_HQD_EOP_BASE_ADDR_HI", 0)
    threaded.submit(*release(HERE, 1))
    assert wait(lambda: threaded.gpu.last_stop != "")
    assert threaded.peek(DATA) == 0
    assert threaded.read("GCVM_L2_PROTECTION_FAULT_ADDR_LO32") == 0
    assert threaded.field("GCVM_L2_PROTECTION_FAULT_STATUS", "cid") == 5


def test_memory_fault_stops_or_goes_to_the_default_page(threaded):
    hole = VA + 0x5_0000_0000
    threaded.submit(*write_data(hole + 0x10, 0x66), *release(HERE, 1))
    assert wait(lambda: threaded.peek(DATA) == 1)
    assert threaded.peek(DUMMY_PAGE + 0x10) == 0x66
    assert threaded.read("GCVM_L2_PROTECTION_FAULT_STATUS") != 0
    threaded.update("GCVM_L2_PROTECTION_FAULT_CNTL", clear_protection_fault_status_addr=1)
    threaded.faults_stop()
    threaded.interrupts()
    threaded.submit(*write_data(hole + 0x1010, 0x66), *release(HERE, 2))
    assert wait(lambda: "WRITE_DATA" in threaded.gpu.last_stop)
    assert not wait(lambda: threaded.peek(DATA) == 2, 0.02)
    assert [(c, s) for c, s, _ in threaded.interrupts()] == [(10, 0)]
    threaded.write("GRBM_GFX_CNTL", 4)
    assert threaded.read("CP_HQD_ERROR") != 0


def test_frame_buffer_addresses_work_without_page_tables(board):
    board.submit(*write_data(FB + DATA, 0x12))
    assert ran(board) and board.peek(DATA) == 0x12


def test_two_queues_share_the_engine(threaded):
    """A queue that waits does not hold up the other."""
    threaded.submit(*wait_memory(HERE, 1))
    ring = DATA + 0x8000
    threaded.write("GRBM_GFX_CNTL", 4 | 1 << 8)
    for name, value in {"PQ_BASE": (VRAM_VA + ring) >> 8 & 0xFFFFFFFF, "PQ_BASE_HI": (VRAM_VA + ring) >> 40,
                        "PQ_DOORBELL_CONTROL": 1 << 30 | 8 << 2, "PQ_CONTROL": 0x50A, "EOP_BASE_ADDR": 1, "EOP_BASE_ADDR_HI": 1}.items():
        threaded.write(f"CP_HQD_{name}", value)
    threaded.write("CP_HQD_ACTIVE", 1)
    words = release(HERE, 1)
    threaded.poke(ring, *words)
    threaded.gpu.doorbell_write(0x20, len(words))
    assert wait(lambda: threaded.peek(DATA) == 1)
    assert threaded.gpu.wait_idle()


def test_idle_board_sleeps(threaded):
    """A queue that waits for the host takes next to no processor time."""
    import time
    threaded.submit(*wait_memory(SRAM_VA, 7))
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.4)
    assert time.process_time() - before < 0.05
