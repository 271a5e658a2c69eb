"""Rarer PM4 packets, pointers in memory, privilege, the second level of fault control, fused-off units: both generations."""
from __future__ import annotations

import struct
import time

import pytest

from .board import DATA, POINTERS, RING, SDMA_POINTERS, SDMA_RING, VA, Board, each_generation, every_chip, wait
from .test_pm4 import HERE, NOP1, packet, ran, release, split, write_data
from .test_sdma import fence

HOLE = VA + 0x6_0000_0000
GRBM_CP, PRIV_REG, PRIV_INSTR = 20, 184, 185
MASK64 = (0xFFFFFFFF, 0xFFFFFFFF)
SWAP, CMPSWAP, ADD, SUB, SMIN, UMIN, SMAX, UMAX, AND, OR, XOR, INC, DEC = 7, 8, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25


@pytest.fixture(params=["navi31", "navi48"])
def board(request):
    return Board(chip=request.param).boot()


def atomic_mem(va: int, operation: int, value: int, expected: int = 0, command: int = 0) -> tuple[int, ...]:
    return packet(0x1E, operation | command << 8, *split(va), *split(value), *split(expected), 10)


@pytest.mark.parametrize("operation, old, value, expected, result", [
    (ADD, 5, 7, 0, 12), (ADD, 0xFFFFFFFF, 2, 0, 1), (SUB, 5, 7, 0, 0xFFFFFFFE), (SWAP, 5, 7, 0, 7), (CMPSWAP, 5, 7, 5, 7),
    (CMPSWAP, 5, 7, 6, 5), (SMIN, 1, 0xFFFFFFFF, 0, 0xFFFFFFFF), (UMIN, 1, 0xFFFFFFFF, 0, 1), (SMAX, 1, 0xFFFFFFFF, 0, 1),
    (UMAX, 1, 0xFFFFFFFF, 0, 0xFFFFFFFF), (AND, 12, 10, 0, 8), (OR, 12, 10, 0, 14), (XOR, 12, 10, 0, 6), (INC, 5, 5, 0, 0),
    (INC, 4, 5, 0, 5), (DEC, 0, 9, 0, 9), (DEC, 4, 9, 0, 3), (DEC, 40, 9, 0, 9)])
def test_atomic_mem(operation, old, value, expected, result):
    board = Board(deterministic=True).boot()
    for answer in (0, 64):   # the forms with and without an answer
        board.poke(DATA, old, 0x55)
        board.submit(*atomic_mem(HERE, operation + answer, value, expected))
        assert ran(board), board.gpu.last_stop
        assert struct.unpack("<2I", board.gpu.vram_read(DATA, 8)) == (result, 0x55)


def test_atomic_mem_of_64_bits(board):
    board.poke(DATA, *split(0xFFFFFFFF))
    board.submit(*atomic_mem(HERE, ADD + 32, 0x1_0000_0001))
    assert ran(board) and board.peek64(DATA) == 0x2_0000_0000


def test_atomic_mem_loops_until_it_matches(board):
    board.poke(DATA, 1)
    board.submit(*atomic_mem(HERE, CMPSWAP, 9, 2, command=1), *release(HERE + 8, 1))
    assert not wait(lambda: board.peek(DATA + 8) == 1, 0.02)
    board.poke(DATA, 2)
    assert wait(lambda: board.peek(DATA + 8) == 1) and board.peek(DATA) == 9


def test_atomic_on_an_unmapped_page_is_recorded_as_one(board):
    board.faults_stop()
    board.submit(*atomic_mem(HOLE, ADD, 1))
    assert wait(lambda: "ATOMIC_MEM" in board.gpu.last_stop)
    name = "GC" + board.fault_status
    assert (board.field(name, "rw"), board.field(name, "atomic"), board.field(name, "cid")) == (1, 1, 5)


def test_unknown_atomic_operation_is_a_bad_packet(board):
    board.submit(*atomic_mem(HERE, 3, 1))
    assert wait(lambda: board.gpu.last_stop)
    assert (GRBM_CP, 183) in [entry[:2] for entry in board.interrupts()]


@pytest.mark.parametrize("function, value, passes", [(3, 0x1_0000_0002, True), (5, 0x1_0000_0001, False), (5, 0x2_0000_0000, True),
                                                     (1, 0x1_0000_0001, True), (4, 0x1_0000_0002, False)])
def test_wait_reg_mem64(board, function, value, passes):
    board.poke(DATA, *split(value))
    board.submit(*packet(0x93, 0x10 | function, *split(HERE), *split(0x1_0000_0002), *MASK64, 4), *release(HERE + 8, 1))
    assert wait(lambda: board.peek(DATA + 8) == 1, 1 if passes else 0.02) == passes


@pytest.mark.parametrize("value, executed", [(0, False), (1, True)])
def test_cond_exec(board, value, executed):
    body = write_data(HERE + 8, 7)
    board.poke(DATA, value)
    board.submit(*packet(0x22, *split(HERE), 0, len(body)), *body, *release(HERE + 16, 1))
    assert wait(lambda: board.peek(DATA + 16) == 1)
    assert board.peek(DATA + 8) == (7 if executed else 0)
    assert wait(lambda: board.peek(POINTERS + 0x80) == board.wptr)


@pytest.mark.parametrize("devices, executed", [(1, True), (2, False)])
def test_pred_exec(board, devices, executed):
    body = write_data(HERE + 8, 7)
    board.submit(*packet(0x23, devices << 24 | len(body)), *body, *release(HERE + 16, 1))
    assert wait(lambda: board.peek(DATA + 16) == 1)
    assert board.peek(DATA + 8) == (7 if executed else 0)


def test_registers_by_other_routes(board):
    scratch = board.gpu.address("SCRATCH_REG0")
    board.write("SCRATCH_REG0", 0xF0F0)
    board.submit(*packet(0x21, scratch, 0xFF00, 0x000F))
    assert ran(board) and board.read("SCRATCH_REG0") == 0xF00F
    board.submit(*packet(0x7A, scratch - 0xC000 | 3 << 28, 0x1234))
    assert ran(board) and board.read("SCRATCH_REG0") == 0x1234


def unprivileged(chip: str) -> Board:
    board = Board(chip=chip).boot(skip={"map_compute_queue", "mec_active"})
    board.map_compute_queue()
    board.write("GRBM_GFX_CNTL", 4)
    board.write("CP_MQD_CONTROL", 0)
    board.write("GRBM_GFX_CNTL", 0)
    board.mec_active()
    return board


@each_generation
@pytest.mark.parametrize("what", ["WRITE_DATA", "COPY_DATA", "REG_RMW", "INVALIDATE_TLBS"])
def test_what_a_queue_without_privilege_may_not(chip, what):
    board = unprivileged(chip)
    scratch = board.gpu.address("SCRATCH_REG0")
    words = {"WRITE_DATA": packet(0x37, 0, scratch, 0, 0x77), "COPY_DATA": packet(0x40, 5, 0x77, 0, scratch, 0),
             "REG_RMW": packet(0x21, scratch, 0, 0x77), "INVALIDATE_TLBS": packet(0x98, 0)}[what]
    board.submit(*release(HERE, 1), *words, *release(HERE, 2))
    assert wait(lambda: "privilege" in board.gpu.last_stop)
    assert board.peek(DATA) == 1 and board.read("SCRATCH_REG0") == 0
    source = PRIV_INSTR if what == "INVALIDATE_TLBS" else PRIV_REG
    assert [entry[:2] for entry in board.interrupts()] == [(GRBM_CP, source)]


def test_invalidate_tlbs(board):
    va = VA + 0x7000
    board.map(va, DATA, 1)
    board.submit(*write_data(va, 1))
    assert ran(board) and board.peek(DATA) == 1
    board.map(va, DATA + 0x1000, 1)
    board.submit(*write_data(va, 2))
    assert ran(board) and board.peek(DATA) == 2       # still the old page
    board.submit(*packet(0x98, 1 << 4), *write_data(va, 3))
    assert ran(board) and board.peek(DATA + 0x1000) == 3


@pytest.mark.parametrize("request_word, dropped", [(0x00F80001, True), (0x00F80002, False), (1, False)],
                         ids=["vmid 0", "vmid 1", "no level"])
def test_sdma_invalidates_translations(board, request_word, dropped):
    va = VA + 0x7000
    board.map(va, DATA, 1)
    board.submit_sdma(*fence(va, 1))
    assert wait(lambda: board.peek(DATA) == 1)
    board.map(va, DATA + 0x1000, 1)
    board.submit_sdma(16, request_word, 0, 0, *fence(va, 2))
    assert board.gpu.wait_idle()
    assert board.peek(DATA + 0x1000 if dropped else DATA) == 2


def test_sdma_clears_the_fault_status(board):
    board.gpu.translate("gc", HOLE, "read")
    assert board.read("GC" + board.fault_status)
    board.submit_sdma(16, 1 << 24, 0, 0)
    assert wait(lambda: board.read("GC" + board.fault_status) == 0)


def test_sdma_finds_its_pointer_in_memory(board):
    words = fence(HERE, 0x99)
    board.poke(SDMA_RING, *words)
    board.poke(SDMA_POINTERS + 0x38, 4 * len(words), 0)
    assert wait(lambda: board.peek(DATA) == 0x99)     # without a doorbell
    board.update("SDMA0_QUEUE0_RB_CNTL", rb_enable=0)
    board.poke(DATA, 0)
    bit = {"mcu_wptr_poll_enable" if board.gfx12 else "f32_wptr_poll_enable": 0}
    board.write("SDMA0_QUEUE0_RB_WPTR", 0)
    board.update("SDMA0_QUEUE0_RB_CNTL", **bit)
    board.update("SDMA0_QUEUE0_RB_CNTL", rb_enable=1)
    assert not wait(lambda: board.peek(DATA) == 0x99, 0.03)


@pytest.mark.parametrize("pointer", [2, 1 << 40, 0xFFFFFFFFFFFFFFFC], ids=["not whole dwords", "beyond the ring", "wild"])
def test_sdma_distrusts_a_wild_pointer(board, pointer):
    board.poke(SDMA_POINTERS + 0x38, *split(pointer))
    time.sleep(0.02)
    assert board.gpu.wait_idle() and board.gpu.sdma_stop == "" and board.read("SDMA0_QUEUE0_RB_RPTR") == 0


def test_compute_pointer_in_memory_only_when_told(board):
    words = release(HERE, 0x99)
    board.poke(RING, *words)
    board.poke(POINTERS + 0x38, len(words), 0)
    assert not wait(lambda: board.peek(DATA) == 0x99, 0.03)
    board.write("CP_PQ_WPTR_POLL_CNTL1", 1)
    board.update("CP_PQ_WPTR_POLL_CNTL", en=1)
    assert wait(lambda: board.peek(DATA) == 0x99, 2)


def test_second_level_of_fault_control(board):
    """All defaults on at power-on; a kind switched off there stops although the context would forgive."""
    assert board.read("GCVM_L2_PROTECTION_FAULT_CNTL") == 0x3FFFFFFC
    board.map(VA + 0x6000, DATA, 1, 1 << 5)
    board.map(VA + 0x8000, DATA, 1, 1 << 6)
    assert board.gpu.translate("gc", VA + 0x6000, "write") is not None
    board.update("GCVM_L2_PROTECTION_FAULT_CNTL", write_protection_fault_enable_default=0)
    assert board.gpu.translate("gc", VA + 0x6000, "write") is None
    assert board.gpu.translate("gc", VA + 0x8000, "read") is not None
    assert board.gpu.translate("gc", HOLE, "read") is not None
    board.update("GCVM_L2_PROTECTION_FAULT_CNTL", pde1_protection_fault_enable_default=0, pde2_protection_fault_enable_default=0,
                 pde0_protection_fault_enable_default=0)
    assert board.gpu.translate("gc", HOLE, "read") is None
    board.write("GCVM_L2_PROTECTION_FAULT_CNTL", 0x7FFFFFFC)    # crash on a fault
    assert board.gpu.translate("gc", VA + 0x8000, "read") is None


def test_interrupts_by_client(board):
    board.interrupts()
    board.gpu.translate("gc", HOLE, "read")                       # the shader cores' client, 8
    assert [entry[:2] for entry in board.interrupts()] == [(10, 0)]
    board.update("GCVM_L2_PROTECTION_FAULT_CNTL", clear_protection_fault_status_addr=1, client_id_no_retry_fault_interrupt=0xFEFF)
    board.gpu.translate("gc", HOLE, "read")
    assert board.read("GC" + board.fault_status) and board.interrupts() == []


UNITS = {"Radeon RX 7900 XTX": 96, "Radeon RX 7900 XT": 84, "Radeon RX 7800 XT": 60, "Radeon RX 7700 XT": 54, "Radeon RX 7600": 32,
         "Radeon RX 9060 XT": 32, "Radeon RX 9060": 28, "Radeon RX 9070 XT": 64, "Radeon RX 9070": 56, "Radeon AI PRO R9600D": 48}


def active_units(board: Board) -> int:
    found = 0
    for engine in range(8):
        for array in range(2):
            board.write("GRBM_GFX_INDEX", 0)
            board.update("GRBM_GFX_INDEX", se_index=engine, sa_index=array, instance_broadcast_writes=1)
            off = board.field("CC_GC_SHADER_ARRAY_CONFIG", "inactive_wgps") | board.field("GC_USER_SHADER_ARRAY_CONFIG", "inactive_wgps")
            found += 2 * (0xFFFF & ~off).bit_count()
    return found


@every_chip
def test_active_units_of_each_board(chip):
    from torch_usbgpu import _emulator
    boards = next(row["boards"] for row in _emulator.gpu.CHIPS if row["name"] == chip)
    for name in boards:
        board = Board(chip=chip, board=name)
        board.write("CC_GC_SHADER_ARRAY_CONFIG", 0)             # fuses
        assert active_units(board) == UNITS.get(name, active_units(board)), name
    assert boards[0] in UNITS
    with pytest.raises(ValueError, match="no emulated board"):
        Board(chip=chip, board="Radeon 9700")


def test_user_switched_off_units():
    board = Board(chip="navi48")
    board.update("GC_USER_SHADER_ARRAY_CONFIG", inactive_wgps=1)
    assert active_units(board) == 64 - 4 * 2 * 2


@each_generation
def test_filler_between_packets(chip):
    board = Board(chip=chip).boot()
    board.submit(NOP1, NOP1, *packet(0x10, 1, 2, 3), *release(HERE, 4))
    assert wait(lambda: board.peek(DATA) == 4) and board.peek(POINTERS + 0x80) == board.wptr
