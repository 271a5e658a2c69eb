"""Kernels started by PM4: the path from SH registers to the shader cores, and what a faulting wave leaves behind.

Machine code is written out (gfx11, assembled once with clang); the comment at each word says what it is.
"""
from __future__ import annotations

import struct

import pytest

from .board import CHIPS, DATA, ONE_OF_EACH, RWX, SRAM_BUS, SRAM_VA, VA, VRAM_VA, Board, wait
from .test_pm4 import packet, release, split

HERE = VRAM_VA + DATA
CODE, KERNARG, OUT = DATA + 0x10000, DATA + 0x20000, DATA + 0x30000
STORE = (
    0xF4040080, 0xF8000000,              # s_load_b64 s[2:3], s[0:1], 0x0
    0xD6460001, 0x04010A04,              # v_lshl_add_u32 v1, s4, 5, v0
    0x30020282,                          # v_lshlrev_b32 v1, 2, v1
    0x7E0402FF, 0x00001234,              # v_mov_b32 v2, 0x1234
    0xBF89FC07,                          # s_waitcnt lgkmcnt(0)
    0xDC6A0000, 0x00020201,              # global_store_b32 v1, v2, s[2:3]
    0xBFB00000,                          # s_endpgm
)
STORE_12 = (                             # the same for gfx12: the workgroup's number is in ttmp9
    0xF4002080, 0xF8000000, 0xD6460001, 0x04010A75, 0x30020282, 0x7E0402FF, 0x00001234, 0xBFC70000,
    0xEE068002, 0x01000000, 0x00000001, 0xBFB00000)
# *s[0:1] += 1 by every lane
COUNT = (0xF4040080, 0xF8000000, 0x7E020280, 0x7E040281, 0xBF89FC07, 0xDCD60000, 0x00020201, 0xBFB00000)
COUNT_12 = (0xF4002080, 0xF8000000, 0x7E020280, 0x7E040281, 0xBFC70000, 0xEE0D4002, 0x01000000, 0x00000001, 0xBFB00000)
ENDLESS = (0xBFA0FFFF,)                  # s_branch to itself
ILLEGAL = (0xBF800000, 0xBF9F0000 | 0xFFFF)  # s_nop 0, then an encoding that does not exist
USER_SGPRS = 4
ACQUIRE = packet(0x58, 0, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0, 0xC3F1)   # new code: also the instruction caches


def program(board: Board, code: tuple[int, ...], kernarg_va: int = VRAM_VA + KERNARG) -> tuple[int, ...]:
    """Writes the code and returns the packets that set its state."""
    board.poke(CODE, *code, *([0xBF9F0000] * 64))   # s_code_end behind it
    entry = VRAM_VA + CODE
    return (*ACQUIRE, *packet(0x76, 0x20C, entry >> 8 & 0xFFFFFFFF, entry >> 40),
            *packet(0x76, 0x212, 2 | 1 << 29, USER_SGPRS << 1 | 1 << 7),   # 24 VGPRs; four user SGPRs, workgroup id x
            *packet(0x76, 0x240, *split(kernarg_va)),
            *packet(0x76, 0x204, 0, 0, 0, 32, 1, 1, 0, 0))


def dispatch(groups: int) -> tuple[int, ...]:
    return packet(0x15, groups, 1, 1, 0x8005)       # wave32


@pytest.fixture(params=[False, True], ids=["threads", "deterministic"])
def board(request):
    board = Board(deterministic=request.param).boot()
    board.poke(KERNARG, *split(VRAM_VA + OUT))
    return board


def test_kernel_stores(board):
    board.submit(*program(board, STORE), *dispatch(3), *packet(0x46, 0x407),
                 *release(HERE, 1))
    assert wait(lambda: board.peek(DATA) == 1), board.gpu.last_stop
    assert struct.unpack("<97I", board.gpu.vram_read(OUT, 97 * 4)) == (0x1234,) * 96 + (0,)
    assert board.gpu.dispatches == 1


@pytest.mark.parametrize("chip", CHIPS)
def test_every_chip_runs_a_kernel(chip):
    board = Board(chip=chip).boot()
    board.poke(KERNARG, *split(VRAM_VA + OUT))
    board.submit(*program(board, STORE_12 if board.gfx12 else STORE), *dispatch(3), *release(HERE, 1))
    assert wait(lambda: board.peek(DATA) == 1), board.gpu.last_stop
    assert struct.unpack("<97I", board.gpu.vram_read(OUT, 97 * 4)) == (0x1234,) * 96 + (0,)


@pytest.mark.parametrize("chip", ONE_OF_EACH)
def test_indirect_dispatch(chip):
    board = Board(chip=chip).boot()
    board.poke(KERNARG, *split(VRAM_VA + OUT))
    board.poke(DATA + 0x100, 2, 1, 1)
    board.submit(*program(board, STORE_12 if board.gfx12 else STORE), *packet(0x16, *split(HERE + 0x100), 0x8005), *release(HERE, 1))
    assert wait(lambda: board.peek(DATA) == 1), board.gpu.last_stop
    assert struct.unpack("<65I", board.gpu.vram_read(OUT, 65 * 4)) == (0x1234,) * 64 + (0,)


@pytest.mark.parametrize("chip", ONE_OF_EACH)
def test_atomics_of_a_kernel(chip):
    """They add up; on an unmapped page the fault is recorded as an atomic, and the wave's registers say why it halted."""
    board = Board(chip=chip).boot()
    board.poke(KERNARG, *split(VRAM_VA + OUT))
    code = COUNT_12 if board.gfx12 else COUNT
    board.submit(*program(board, code), *dispatch(2), *release(HERE, 1))
    assert wait(lambda: board.peek(DATA) == 1) and board.peek(OUT) == 64
    board.faults_stop()
    board.poke(KERNARG, *split(VA + 0x5_0000_0000))
    board.submit(*dispatch(1), *release(HERE, 2))
    assert wait(lambda: board.gpu.last_stop != "")
    name = "GC" + board.fault_status
    assert (board.field(name, "rw"), board.field(name, "atomic"), board.field(name, "cid")) == (1, 1, 8)
    read = lambda index: board.write("SQ_IND_INDEX", index << 16) or board.read("SQ_IND_DATA")  # noqa: E731
    board.write("GRBM_GFX_INDEX", 0)
    words = next(entry for entry in board.interrupts() if entry[:2] == (20, 239))[2]
    board.update("GRBM_GFX_INDEX", sa_index=words[0] >> 25 & 1, instance_index=(words[1] >> 2 & 15) << 2 | words[1] & 3)
    board.write("SQ_IND_INDEX", 0)
    if board.gfx12:
        assert read(0x104) >> 14 & 1 and read(0x111) == 1 << 4 and read(0x102) >> 23 & 1   # halt; mem_viol; fatal_halt
        assert read(0x140) | read(0x141) << 32 == VRAM_VA + CODE + 0x14
    else:
        assert read(0x102) >> 13 & 1 and read(0x103) == 1 << 8
        assert read(0x108) | read(0x109) << 32 == VRAM_VA + CODE + 0x14
    assert read(0x27E) == 0xFFFFFFFF
    assert read(0x0B) == 1


def test_kernel_arguments_from_the_bridge(board):
    board.gpu.bus_write(SRAM_BUS + 0x100, struct.pack("<Q", VRAM_VA + OUT + 0x1000))
    board.submit(*program(board, STORE, SRAM_VA + 0x100), *dispatch(1), *release(HERE, 1))
    assert wait(lambda: board.peek(DATA) == 1), board.gpu.last_stop
    assert board.peek(OUT + 0x1000 + 31 * 4) == 0x1234


def halted_wave(board: Board) -> dict[str, int]:
    """As a driver finds it: the interrupt names array, WGP, SIMD and slot, not the engine."""
    entries = [words for client, source, words in board.interrupts() if (client, source) == (20, 239)]
    assert len(entries) == 1
    first, second = entries[0][:2]
    assert second >> 6 & 3 == 2
    found = {"type": first >> 21 & 15}
    for engine in range(6):
        board.write("GRBM_GFX_INDEX", engine << 16 | (first >> 25 & 1) << 8 | (second >> 2 & 15) << 2 | (second & 3))

        def read(index: int, slot: int = first >> 27) -> int:
            board.write("SQ_IND_INDEX", slot | index << 16)
            return board.read("SQ_IND_DATA")
        if read(0x102) >> 16 & 1:
            found |= {"engine": engine, "status": read(0x102), "trapsts": read(0x103), "pc": read(0x108) | read(0x109) << 32,
                      "exec": read(0x27E)}
    return found


def test_illegal_instruction(board):
    board.interrupts()
    board.submit(*program(board, ILLEGAL), *dispatch(1), *release(HERE, 1))
    assert wait(lambda: board.gpu.last_stop != "")
    wave = halted_wave(board)
    assert wave["type"] == 1 and wave["pc"] == VRAM_VA + CODE + 4 and wave["exec"] == 0xFFFFFFFF
    assert wave["trapsts"] >> 11 & 1 and wave["status"] >> 13 & 1
    assert not wait(lambda: board.peek(DATA) == 1, 0.02)         # the queue stays behind it
    board.write("GRBM_GFX_CNTL", 4)
    board.write("CP_HQD_DEQUEUE_REQUEST", 1)                      # draining cannot end
    assert not wait(lambda: board.read("CP_HQD_ACTIVE") == 0, 0.02)
    board.write("CP_HQD_DEQUEUE_REQUEST", 2)
    assert wait(lambda: board.read("CP_HQD_ACTIVE") == 0)
    board.write("GRBM_GFX_INDEX", wave["engine"] << 16)
    assert board.read("GRBM_STATUS") == 0
    board.map_compute_queue()
    board.mec_active()
    board.submit(*program(board, STORE), *dispatch(1), *release(HERE, 2))
    assert wait(lambda: board.peek(DATA) == 2)


# s_mov_b32 m0, 0x1234; s_sendmsg sendmsg(MSG_INTERRUPT); s_endpgm: the same on both generations
MESSAGE = (0xBEFD00FF, 0x1234, 0xBFB60001, 0xBFB00000)


def test_interrupt_from_a_kernel(board):
    """Each wave's message is an SQ entry of the wave encoding with M0 as its data; the kernel goes on."""
    board.interrupts()
    board.submit(*program(board, MESSAGE), *dispatch(3), *release(HERE, 1))
    assert wait(lambda: board.peek(DATA) == 1)
    entries = [words for client, source, words in board.interrupts() if (client, source) == (20, 239)]
    assert [first & 0x1FFFFFF for first, *_ in entries] == [0x1234] * 3
    assert {second >> 6 & 3 for _, second, *_ in entries} == {1}


def test_memory_fault(board):
    """Without a default page: hub status, both interrupts, the wave's PC. With it the wave goes on."""
    hole = VA + 0x5_0000_0000
    board.poke(KERNARG, *split(hole))
    board.submit(*program(board, STORE), *dispatch(1), *release(HERE, 1))
    assert wait(lambda: board.peek(DATA) == 1)
    assert board.read("GCVM_L2_PROTECTION_FAULT_STATUS") != 0
    board.update("GCVM_L2_PROTECTION_FAULT_CNTL", clear_protection_fault_status_addr=1)
    board.faults_stop()
    board.interrupts()
    board.submit(*dispatch(1), *release(HERE, 2))
    assert wait(lambda: board.gpu.last_stop != "")
    assert board.read("GCVM_L2_PROTECTION_FAULT_ADDR_LO32") == hole >> 12 & 0xFFFFFFFF
    assert board.field("GCVM_L2_PROTECTION_FAULT_STATUS", "rw") == 1
    assert board.field("GCVM_L2_PROTECTION_FAULT_STATUS", "cid") == 8
    wave = halted_wave(board)
    assert wave["type"] == 2 and wave["pc"] == VRAM_VA + CODE + 0x20
    assert not wait(lambda: board.peek(DATA) == 2, 0.02)


@pytest.mark.parametrize("how", ["switched off and on", "soft reset"])
def test_endless_kernel_does_not_outlive_its_queue(how):
    """A new queue at once after the old one: the cancelled kernel has not noticed yet."""
    board = Board().boot()
    for turn in range(8):
        board.poke(KERNARG, *split(VRAM_VA + OUT))
        board.submit(*program(board, ENDLESS), *dispatch(1), *release(HERE, 1))
        assert not board.gpu.wait_idle(5)
        if how == "soft reset":
            board.write("GRBM_SOFT_RESET", 0x40001)
            board.write("GRBM_SOFT_RESET", 0)
            board.mec_reset_pulse()
            board.mec_enable()
        else:
            board.write("GRBM_GFX_CNTL", 4)
            board.write("CP_HQD_ACTIVE", 0)
        board.map_compute_queue()
        board.mec_active()
        board.submit(*program(board, STORE), *dispatch(1), *release(HERE, turn + 2))
        assert wait(lambda: board.peek(DATA) == turn + 2), board.gpu.last_stop


def test_endless_kernel_can_be_cancelled():
    board = Board().boot()
    board.poke(KERNARG, *split(VRAM_VA + OUT))
    board.submit(*program(board, ENDLESS), *dispatch(1), *release(HERE, 1))
    assert not board.gpu.wait_idle(50)
    board.write("GRBM_GFX_CNTL", 4)
    board.write("CP_HQD_DEQUEUE_REQUEST", 2)
    assert wait(lambda: board.read("CP_HQD_ACTIVE") == 0)
    board.map_compute_queue()
    board.mec_active()
    board.submit(*program(board, STORE), *dispatch(1), *release(HERE, 2))
    assert wait(lambda: board.peek(DATA) == 2)


def test_no_compute_unit_enabled(board):
    board.submit(*packet(0x76, 0x216, 0, 0), *packet(0x76, 0x219, 0, 0), *packet(0x76, 0x22B, 0, 0, 0, 0), *program(board, STORE), *dispatch(1))
    assert wait(lambda: "thread masks" in board.gpu.last_stop)


def test_cold_reset_ends_an_endless_kernel():
    board = Board().boot()
    board.submit(*program(board, ENDLESS), *dispatch(1))
    assert not board.gpu.wait_idle(20)
    board.gpu.cold_reset()
    assert board.peek(CODE) == 0


def test_code_must_be_executable(board):
    board.faults_stop()
    board.map(VA + 0x8000, CODE, 1, RWX & ~(1 << 4))
    state = program(board, STORE)
    entry = VA + 0x8000
    board.submit(*state, *packet(0x76, 0x20C, entry >> 8 & 0xFFFFFFFF, entry >> 40), *dispatch(1))
    assert wait(lambda: board.gpu.last_stop != "")
    assert board.field("GCVM_L2_PROTECTION_FAULT_STATUS", "permission_faults") == 8
