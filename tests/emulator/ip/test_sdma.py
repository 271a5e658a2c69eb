"""Packets of the SDMA ring and the engine's states."""
from __future__ import annotations

import os
import struct

import pytest

from .board import DATA, SDMA_POINTERS, SRAM_BUS, SRAM_VA, VA, VRAM_VA, Board, wait
from .test_pm4 import split

HERE = VRAM_VA + DATA


def copy(to: int, source: int, count: int) -> tuple[int, ...]:
    return (1, count - 1, 0, *split(source), *split(to))


def fence(va: int, value: int) -> tuple[int, ...]:
    return (0x00030005, *split(va), value)


def poll(va: int, reference: int, header: int = 0xB0000008, control: int = 0x0FFF0004) -> tuple[int, ...]:
    return (header, *split(va), reference, 0xFFFFFFFF, control)


@pytest.fixture(params=[False, True], ids=["threads", "deterministic"])
def board(request):
    return Board(deterministic=request.param).boot()


def ran(board: Board) -> bool:
    return board.gpu.wait_idle() and board.gpu.sdma_stop == ""


@pytest.mark.parametrize("to, source, count", [(1, 0x5000, 1), (3, 0x5001, 777), (0, 0x4000, 0x4000), (0x3FF, 0x6FFF, 0x2001)])
def test_copy_any_alignment(board, to, source, count):
    data = os.urandom(count)
    board.gpu.vram_write(DATA + (source & ~3), bytes(source & 3) + data)
    board.submit_sdma(*copy(HERE + 0x10000 + to, HERE + source, count), *fence(HERE, 1))
    assert ran(board), board.gpu.sdma_stop
    assert board.gpu.vram_read(DATA + 0x10000 + (to & ~3), count + 4)[to & 3:][:count] == data
    assert board.peek(DATA) == 1
    assert board.peek64(SDMA_POINTERS + 0x80) == board.sdma_wptr     # in bytes


def test_copy_in_paced_by_a_sentinel(board):
    """Bridge memory to VRAM and back, held until the end of each chunk has arrived."""
    window, data = 0x4000, os.urandom(0x3000 - 4)
    board.submit_sdma(*poll(SRAM_VA + window + 0x2FFC, 0xFEED), *copy(HERE, SRAM_VA + window, 0x3000), *fence(HERE + 0x8000, 5),
                      *copy(SRAM_VA + 0x20000, HERE, 0x3000), *fence(HERE + 0x8000, 6))
    assert not wait(lambda: board.peek(DATA + 0x8000) == 5, 0.02)
    board.gpu.bus_write(SRAM_BUS + window, data + struct.pack("<I", 0xFEED))
    assert wait(lambda: board.peek(DATA + 0x8000) == 6)
    assert board.gpu.vram_read(DATA, len(data)) == data
    assert board.gpu.bus_read(SRAM_BUS + 0x20000, len(data)) == data


def test_write_fill_timestamp_trap(board):
    board.interrupts()
    board.submit_sdma(2, *split(HERE), 2, 10, 11, 12,                     # WRITE of three dwords
                      11, *split(HERE + 0x100), 0x01020304, 0x0F,         # CONST_FILL, 16 bytes
                      0x20D, *split(HERE + 0x200),                        # TIMESTAMP
                      17, 0, 0, 0, 0, 6, 0x99, 0, 0x00020000, 7, 8)       # GCR_REQ, TRAP, NOP, NOP that skips two
    assert ran(board), board.gpu.sdma_stop
    assert struct.unpack("<3I", board.gpu.vram_read(DATA, 12)) == (10, 11, 12)
    assert board.gpu.vram_read(DATA + 0x100, 20) == bytes((4, 3, 2, 1)) * 4 + bytes(4)
    assert board.peek64(DATA + 0x200) > 0
    assert [(c, s, w[0]) for c, s, w in board.interrupts()] == [(10, 49, 0x99)]


@pytest.mark.parametrize("operation, old, value, expected", [
    (15, 5, 3, 8), (16, 5, 3, 2), (7, 5, 3, 3), (8, 9, 3, 3), (21, 0b1100, 0b1010, 0b1000), (23, 1, 3, 2), (20, 7, 9, 9),
    (17, 0xFFFFFFFF, 1, 0xFFFFFFFF), (18, 0xFFFFFFFF, 1, 1)])
def test_atomics(board, operation, old, value, expected):
    board.poke(DATA, old)
    board.submit_sdma(10 | operation << 25, *split(HERE), value, 0, 9, 0, 0)
    assert ran(board)
    assert board.peek(DATA) == expected


def test_wide_atomic_add(board):
    board.poke(DATA, 0xFFFFFFFF, 0)
    board.submit_sdma(10 | 47 << 25, *split(HERE), 1, 0, 0, 0, 0)
    assert ran(board) and board.peek64(DATA) == 1 << 32


def test_indirect_buffer(board):
    ib = DATA + 0x1000
    board.poke(ib, *fence(HERE, 1), *fence(HERE + 4, 2))
    board.submit_sdma(4, *split(VRAM_VA + ib), 8, 0, 0, *fence(HERE + 8, 3))
    assert ran(board)
    assert struct.unpack("<3I", board.gpu.vram_read(DATA, 12)) == (1, 2, 3)


def test_conditional_execution(board):
    board.poke(DATA + 0x40, 1)
    board.submit_sdma(9, *split(HERE + 0x40), 2, 4, *fence(HERE, 1), 9, *split(HERE + 0x40), 1, 4, *fence(HERE + 4, 2))
    assert ran(board)
    assert board.peek(DATA) == 0 and board.peek(DATA + 4) == 2


def test_register_poll_and_write(board):
    scratch = board.gpu.address("SCRATCH_REG2")
    board.submit_sdma(14 | 0xF << 28, scratch, 0x123, 0x30000008, 4 * scratch, 0, 0x123, 0xFFFFFFFF, 0x0FFF0004, *fence(HERE, 1))
    assert ran(board)
    assert board.read("SCRATCH_REG2") == 0x123 and board.peek(DATA) == 1


def test_poll_with_a_limit_gives_up(board):
    board.interrupts()
    board.submit_sdma(*poll(HERE, 1, control=3 << 16), *fence(HERE + 4, 1))
    assert wait(lambda: board.peek(DATA + 4) == 1)
    assert [(c, s) for c, s, _ in board.interrupts()] == [(10, 57)]


@pytest.mark.parametrize("words", [(0xFE,), (4, *split(VRAM_VA + DATA + 4), 8, 0, 0), (1 | 5 << 8, 0, 0, 0, 0, 0, 0)],
                         ids=["opcode", "unaligned buffer", "sub-opcode"])
def test_bad_packet_hangs_the_queue(board, words):
    board.update("SDMA0_WATCHDOG_CNTL", queue_hang_count=100)
    board.interrupts()
    board.submit_sdma(*words, *fence(HERE, 1))
    assert wait(lambda: board.gpu.sdma_stop != "")
    assert board.peek(DATA) == 0
    assert [(c, s) for c, s, _ in board.interrupts()] == [(10, 55)]
    assert board.field("SDMA0_QUEUE0_CONTEXT_STATUS", "exception")
    board.write("GRBM_SOFT_RESET", 1 << 23)
    board.write("GRBM_SOFT_RESET", 0)
    board.sdma_queue()
    board.sdma_rb_enable()
    board.submit_sdma(*fence(HERE, 7))
    assert wait(lambda: board.peek(DATA) == 7)


def test_fault_has_the_engines_client(board):
    board.faults_stop()
    board.submit_sdma(*copy(VA + 0x5_0000_0000, HERE, 64), *fence(HERE, 1))
    assert wait(lambda: "COPY" in board.gpu.sdma_stop)
    assert board.field("GCVM_L2_PROTECTION_FAULT_STATUS", "cid") == 13
    assert board.field("GCVM_L2_PROTECTION_FAULT_STATUS", "rw") == 1
    assert board.peek(DATA) == 0


@pytest.mark.parametrize("what", ["halt", "reset", "freeze"])
def test_halt_freeze_and_go_on(board, what):
    if what == "freeze":
        board.update("SDMA0_FREEZE", freeze=1)
        assert board.field("SDMA0_FREEZE", "frozen")
    else:
        board.sdma_hold(**{what: 1})
    board.submit_sdma(*fence(HERE, 1))
    assert not wait(lambda: board.peek(DATA) == 1, 0.02)
    board.sdma_hold(halt=0, reset=0)
    board.update("SDMA0_FREEZE", freeze=0)
    assert wait(lambda: board.peek(DATA) == 1)


def test_ring_wraps(board):
    for i in range(2500):                          # 20 bytes each into 128 KiB: wraps, and packets straddle
        board.submit_sdma(*fence(HERE, i), 0)
        if i % 500 == 499:
            assert board.gpu.wait_idle(), i
    assert board.sdma_wptr == 50000 and board.peek(DATA) == 2499
